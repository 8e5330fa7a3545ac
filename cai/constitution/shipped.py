"""Where the constitutions and principles that come with the package are: beside a checkout, or inside a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped_folder(kind: str) -> Path:
    """The folder `constitution` or `principles`; the copy inside an installed package wins."""
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def shipped_constitutions() -> dict[str, Path]:
    """Name and file of every constitution that comes with the package."""
    return {path.stem: path for path in sorted(shipped_folder("constitution").glob("*.yaml"))}
