"""Settings of a stage: defaults, then the recipe, then `section.key=value`, then flags; typos are errors that help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from cai.config.methods import METHODS
from cai.errors import InputError, InputErrors, Where
from cai.strict_yaml import Doc, did_you_mean, dotted, find_problems, load, shown

SECTIONS = ("run", "engine", "critique", "label", "train", "rl", *METHODS, "iterate", "evaluate", "compare")
"""Every mapping a recipe may hold: one per stage, and the model behind them.

A pipeline has one for each method, where a single training has `train:` or `rl:`.
"""


Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed of a run: exports keep it in 64 bits."""


class Settings(BaseModel):
    """Base of a stage's settings: frozen, strict, unknown keys refused, no number without an end.

    The string under a field is its help text in the command line, in the schema and in the docs.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Settings)


def load_settings(
    model: type[S], section: str, recipe: Path | None, overrides: Sequence[str], flags: Mapping[str, object]
) -> S:
    """Settings of one section; a flag beats an override, which beats the recipe, which beats the default.

    An override is `section.key=value`, its value written as in YAML; those of other sections are left to them. A flag
    that is None was not given. Raises InputErrors with every problem, each with the place it comes from.
    """
    doc = _section(recipe, section)
    value, given, problems = doc.value, dict[str, str](), list[InputError]()
    for override in overrides:
        try:
            name, keys, word = _read_override(override)
        except InputError as problem:
            problems.append(problem)
            continue
        if name == section:
            value = _put(value, (section, *keys), word)
            given[dotted((section, *keys))] = f"override `{shown(override)}`"
    for key, word in flags.items():
        if word is not None:
            value = _put(value, (section, key), _plain(word))
            given[dotted((section, key))] = f"--{key.replace('_', '-')}"
    settings, found = find_problems(replace(doc, value=value), model, (section,))
    problems += [_with_origin(problem, given) for problem in found]
    if settings is None or problems:
        raise InputErrors(problems)
    return settings


def _section(recipe: Path | None, section: str) -> Doc:
    """The recipe with all its sections checked by name, and an empty `section` where it has none."""
    if recipe is None:
        return Doc("", {section: {}}, {}, {})
    doc = load(recipe)
    sections: Any = {} if doc.value is None else doc.value
    if not isinstance(sections, dict):
        raise InputError("a recipe is a mapping of sections", f"start it with `{section}:`", doc.where())
    sections = cast(dict[str, Any], sections)
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        raise InputErrors([_unknown_section(name, doc.where_key(name)) for name in unknown])
    return replace(doc, value={**sections, section: sections.get(section) or {}})


def _read_override(text: str) -> tuple[str, tuple[str, ...], object]:
    """Section, keys and value of `section.key=value`."""
    where = Where(f"override `{shown(text)}`")
    path, equals, word = text.partition("=")
    section, *keys = path.strip().split(".")
    if not equals or not keys or not all(keys):
        raise InputError("this is not an override", "write section.key=value", where)
    if section not in SECTIONS:
        raise _unknown_section(section, where)
    return section, tuple(keys), load(word, name=str(where)).value


def _unknown_section(name: str, where: Where) -> InputError:
    remedy = did_you_mean(name, SECTIONS) or f"the sections are {', '.join(SECTIONS)}"
    return InputError(f"unknown section `{shown(name)}`", remedy, where)


def _put(value: Any, path: tuple[str, ...], word: object) -> Any:
    """`value` with `word` at a key path; what stands in the way of a mapping is replaced."""
    if not path:
        return word
    mapping = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    return {**mapping, path[0]: _put(mapping.get(path[0]), path[1:], word)}


def _plain(word: object) -> object:
    """A flag's value as YAML would have it."""
    if isinstance(word, Path):
        return str(word)
    return [_plain(part) for part in cast(Sequence[object], word)] if isinstance(word, (tuple, list)) else word


def _with_origin(problem: InputError, given: Mapping[str, str]) -> InputError:
    """The problem at the override or flag that its key came from, where it is not the recipe's."""
    key = problem.where.key
    for at, origin in reversed(list(given.items())):
        if key == at or key.startswith((f"{at}.", f"{at}[")):
            return InputError(problem.what, problem.remedy, Where(origin))
    return problem
