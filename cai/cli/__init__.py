"""The command line: one short file per command, each imported only when it is called.

This is the only place that picks an engine. Nothing heavy is imported at the top of any file here: stages, torch and
engines are imported inside the functions that use them.
"""

from cai.cli.app import main

__all__ = ["main"]
