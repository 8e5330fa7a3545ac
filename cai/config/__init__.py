"""Every setting, its default and its one description: one frozen model per stage, in the file named after the stage."""

from cai.config.base import Settings, load_settings

__all__ = ["Settings", "load_settings"]
