"""Flags whose help text is the setting's own, so that a setting is described once."""

from __future__ import annotations

from typing import Any

import typer

from cai.config.base import Settings


def flag(model: type[Settings], field: str, *names: str, **options: Any) -> Any:
    """A typer option for one field of a settings model; None when not given."""
    setting = model.model_fields[field]
    default = "" if setting.default in (None, "", False, ()) else f" [default: {setting.default}]"
    return typer.Option(*names, help=f"{setting.description}{default}", show_default=False, **options)
