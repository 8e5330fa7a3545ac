"""The words after a stage's name: at most one recipe, and overrides `section.key=value`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cai.errors import InputError, Where


def split_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The recipe, if one is named, and the overrides. Raises `InputError` for a second recipe or a missing one."""
    overrides = [word for word in words if "=" in word]
    recipes = [word for word in words if "=" not in word]
    if len(recipes) > 1:
        raise InputError("a second recipe", "give one, and overrides as section.key=value", Where(recipes[1]))
    if recipes and not Path(recipes[0]).is_file():
        raise InputError("no such recipe", "give a YAML file, or overrides as section.key=value", Where(recipes[0]))
    return (Path(recipes[0]) if recipes else None), overrides
