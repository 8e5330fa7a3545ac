"""Fit plain data from a YAML document to a pydantic model; every problem gets its place and a remedy."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cai.errors import InputError, InputErrors, Where
from cai.strict_yaml.parse import Doc, Key, KeyPath, dotted, shown

ModelT = TypeVar("ModelT", bound=BaseModel)

MOST_PROBLEMS = 100
"""Problems listed of one file; the rest is counted."""


class Misfit(ValueError):
    """For a pydantic validator of ours: what is wrong with the value, and what to do. The place is added here."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}; {remedy}")


_TYPES = {
    "string_type": ("text", "put it in quotes if it is meant as text"),
    "int_type": ("a whole number", "write digits, without quotes or a fraction"),
    "float_type": ("a number", "write it without quotes"),
    "bool_type": ("true or false", "write true or false without quotes"),
    "tuple_type": ("a list", "write [one, two], or start each item with `- `"),
    "list_type": ("a list", "write [one, two], or start each item with `- `"),
    "dict_type": ("a mapping", "write it as `key: value` lines"),
    "model_type": ("a mapping", "write it as `key: value` lines"),
    "model_attributes_type": ("a mapping", "write it as `key: value` lines"),
    "none_required": ("empty", "leave it out"),
    "finite_number": ("a finite number", "write a plain number"),
}
"""What a value of the wrong type should be, and what to do."""


def validate(doc: Doc, model: type[ModelT], at: KeyPath = ()) -> ModelT:
    """Build `model` from the value at key path `at`, strictly: no type is bent into another, unknown keys are errors.

    Raises `InputErrors` with one entry per problem: file:line:column, dotted key, what is wrong, what to do.
    """
    result, problems = find_problems(doc, model, at)
    if result is None:
        raise InputErrors(problems)
    return result


def find_problems(doc: Doc, model: type[ModelT], at: KeyPath = ()) -> tuple[ModelT | None, list[InputError]]:
    """`validate` for callers that have more problems to add: the model or None, and what is wrong."""
    value = _value_at(doc, at)
    if not isinstance(value, dict):
        what = "nothing in it" if value is None else f"must be a mapping, not {_kind(value)}"
        keys = ", ".join(f"`{name}:`" for name in list(model.model_fields)[:4])
        return None, [InputError(what, f"write `key: value` lines with keys such as {keys}", doc.where(*at))]
    try:
        return model.model_validate_json(json.dumps(value), strict=True), []
    except ValidationError as error:
        # Inputs are left out: printing them is what makes a small hostile file fill the memory.
        details = error.errors(include_url=False, include_input=False)
        return None, _problems(doc, model, at, cast("list[dict[str, Any]]", details))


def _problems(doc: Doc, model: type[BaseModel], at: KeyPath, details: Iterable[dict[str, Any]]) -> list[InputError]:
    """One problem per place: the branches of a union that all failed become one line."""
    by_place: dict[KeyPath, list[dict[str, Any]]] = {}
    for detail in details:
        path = _path_in(doc, at, cast(KeyPath, detail["loc"]))
        if detail["type"] == "missing":
            path = (*path, detail["loc"][-1])
        by_place.setdefault(path, []).append(detail)
    # A branch of a union that does not fit at all says nothing where another branch fits but for a detail.
    covered = {path[:end] for path in by_place for end in range(len(path))}
    texts = {path[:-1] for path, same in by_place.items() if _is_text_with_colon(doc, model, at, path, same)}
    telling = [
        path
        for path, same_place in by_place.items()
        if (path not in covered or not all(detail["type"] in _TYPES for detail in same_place))
        and not (path[:-1] in texts and same_place[0]["type"] == "missing")
    ]
    telling.sort(key=lambda path: _order(doc, path, by_place[path]))
    told, rest = telling[:MOST_PROBLEMS], telling[MOST_PROBLEMS:]
    found = [_problem(doc, model, at, path, by_place[path], is_text=path[:-1] in texts) for path in told]
    if rest:
        where = doc.where(*at) if at else Where(doc.name, *_order(doc, rest[0], by_place[rest[0]]))
        found.append(InputError(f"and {len(rest):,} more problems from here on", "mend those before first", where))
    return found


def _order(doc: Doc, path: KeyPath, same_place: list[dict[str, Any]]) -> tuple[int, int]:
    """Line and column under which a problem is listed."""
    where = doc.where_key(*path) if same_place[0]["type"] == "extra_forbidden" else doc.where(*path)
    return where.line or 0, where.column or 0


def _is_text_with_colon(
    doc: Doc, model: type[BaseModel], at: KeyPath, path: KeyPath, same_place: list[dict[str, Any]]
) -> bool:
    """Whether an unknown key is the start of an item that was meant as text: `- Note: be kind`."""
    if same_place[0]["type"] != "extra_forbidden" or len(path) < 2 or not isinstance(path[-2], int):
        return False
    alone = len(cast("dict[str, Any]", _value_at(doc, path[:-1]))) == 1
    return alone and not did_you_mean(str(path[-1]), _fields_at(model, path[len(at) : -1]))


def _path_in(doc: Doc, at: KeyPath, loc: KeyPath) -> KeyPath:
    """The part of pydantic's location that is in the document: names of union branches are not."""
    value = _value_at(doc, at)
    path = at
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            continue
        path = (*path, part)
    return path


def _value_at(doc: Doc, path: KeyPath) -> Any:
    value = doc.value
    for part in path:
        value = value[part]
    return value


def _problem(
    doc: Doc,
    model: type[BaseModel],
    at: KeyPath,
    path: KeyPath,
    same_place: list[dict[str, Any]],
    *,
    is_text: bool,
) -> InputError:
    telling = [detail for detail in same_place if detail["type"] not in _TYPES]
    if not telling:
        expected = " or ".join(dict.fromkeys(_TYPES[detail["type"]][0] for detail in same_place))
        remedy = _TYPES[same_place[0]["type"]][1] if len(same_place) == 1 else "write one of these"
        return InputError(f"must be {expected}, not {_kind(_value_at(doc, path))}", remedy, doc.where(*path))
    kind = cast(str, telling[0]["type"])
    if kind == "extra_forbidden":
        return _unknown_key(doc, path, _fields_at(model, path[len(at) : -1]), is_text=is_text)
    if kind == "missing":
        return InputError(f"the key `{path[-1]}` is missing", f"add `{path[-1]}:`", doc.where(*path[:-1]))
    what, remedy = _wrong_value(kind, telling[0], _value_at(doc, path))
    return InputError(what, remedy, doc.where(*path))


def _unknown_key(doc: Doc, path: KeyPath, known: set[str], *, is_text: bool) -> InputError:
    key = str(path[-1])
    if is_text or " " in key.strip():
        remedy = "put text that holds `: ` in quotes, or it is read as a key and a value"
    else:
        remedy = did_you_mean(key, known) or f"the keys here are {', '.join(sorted(known))}"
    return InputError(f"unknown key `{shown(key)}`", remedy, doc.where_key(*path))


def _wrong_value(kind: str, detail: dict[str, Any], value: Any) -> tuple[str, str]:
    """What is wrong with a value of the right type, and what to do."""
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "literal_error":
        options = [part.strip().strip("'") for part in str(context["expected"]).replace(" or ", ",").split(",")]
        remedy = did_you_mean(str(value), options) or f"write one of {', '.join(options)}"
        return f"`{shown(value)}` is not an option here", remedy
    if kind == "value_error":
        cause = context["error"]
        return (cause.what, cause.remedy) if isinstance(cause, Misfit) else (str(cause), "change the value")
    if kind in ("string_too_short", "too_short") and not (value.strip() if isinstance(value, str) else value):
        return "must not be empty", "write a value, or leave the key out"
    if kind == "string_too_long":
        return f"longer than {context['max_length']:,} characters", "shorten it"
    if kind == "too_long":
        return f"{len(value):,} items, more than {context['max_length']:,}", "leave some out"
    if kind == "string_pattern_mismatch":
        plain = context["pattern"].startswith("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
        words = "letters, digits, `-` and `_`, at most 64, the first a letter or digit" if plain else ""
        return f"`{shown(value)}` does not fit here", f"use {words}" if words else f"it must match {context['pattern']}"
    message = cast(str, detail["msg"])
    return f"{message[0].lower()}{message[1:]}".replace(
        "input should be", "must be"
    ) + f", not {_kind(value)}", "change it"


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"the text `{shown(value)}`" if isinstance(value, str) else f"`{shown(value)}`"


def _fields_at(annotation: Any, path: KeyPath) -> set[str]:
    """Field names of the model, or of all models of a union, that an annotation holds at a key path."""
    names: set[str] = set()
    for model, rest in _models_at(annotation, path):
        if not rest:
            names |= set(model.model_fields)
        elif rest[0] in model.model_fields:
            names |= _fields_at(model.model_fields[str(rest[0])].annotation, rest[1:])
    return names


def _models_at(annotation: Any, path: KeyPath) -> Iterable[tuple[type[BaseModel], tuple[Key, ...]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _models_at(arguments[0], path)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _models_at(argument, path)
    elif origin in (list, tuple) and path:
        yield from _models_at(arguments[0], path[1:])
    elif origin is dict and path:
        yield from _models_at(arguments[1], path[1:])


def did_you_mean(word: str, known: Iterable[str], *, before: str = "") -> str:
    """`did you mean `x`?` for the nearest known word, with `before` in front of it; empty without a near one."""
    near = get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f"did you mean `{before}{near[0]}`?" if near else ""


__all__ = ["did_you_mean", "dotted", "find_problems", "validate"]
