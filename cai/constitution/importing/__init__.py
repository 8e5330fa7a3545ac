"""Other people's principle sets as constitutions: one file a format, and `read_files` that tells them apart."""

from cai.constitution.importing.files import Imported, read_files

__all__ = ["Imported", "read_files"]
