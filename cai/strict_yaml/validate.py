"""Fit plain data from a YAML document to a pydantic model; every problem gets its place and a remedy."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cai.errors import InputError, InputErrors
from cai.strict_yaml.parse import Doc, Key, KeyPath, dotted, shown

ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED = {
    "string_type": ("must be text", "put it in quotes if it is meant as text"),
    "int_type": ("must be a whole number", "write digits without quotes"),
    "int_from_float": ("must be a whole number", "write it without a fraction"),
    "float_type": ("must be a number", "write it without quotes"),
    "bool_type": ("must be true or false", "write true or false without quotes"),
    "tuple_type": ("must be a list", "start each item with `- `"),
    "list_type": ("must be a list", "start each item with `- `"),
    "dict_type": ("must be a mapping", "write it as `key: value` lines"),
    "model_type": ("must be a mapping", "write it as `key: value` lines"),
    "model_attributes_type": ("must be a mapping", "write it as `key: value` lines"),
    "finite_number": ("must be a finite number", "write a plain number"),
}


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
    value = doc.value
    for part in at:
        value = value[part]
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
    by_place: dict[KeyPath, InputError] = {}
    for detail in details:
        path, value = _path_in(doc, at, cast(KeyPath, detail["loc"]))
        if detail["type"] == "missing":
            path, value = (*path, detail["loc"][-1]), None
        problem = _problem(doc, model, at, path, value, detail)
        if path in by_place and by_place[path].what != problem.what:
            first = by_place[path]
            problem = InputError(f"{first.what} or {problem.what}", first.remedy, first.where)
        by_place[path] = problem
    for path in list(by_place):
        # A branch of a union that does not fit at all says nothing where another branch fits but for a detail.
        if any(len(other) > len(path) and other[: len(path)] == path for other in by_place):
            del by_place[path]
    return sorted(by_place.values(), key=lambda p: (p.where.line or 0, p.where.column or 0))


def _path_in(doc: Doc, at: KeyPath, loc: KeyPath) -> tuple[KeyPath, Any]:
    """The part of pydantic's location that is in the document (names of union branches are not), and its value."""
    value = doc.value
    for part in at:
        value = value[part]
    path = at
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            continue
        path = (*path, part)
    return path, value


def _problem(
    doc: Doc, model: type[BaseModel], at: KeyPath, path: KeyPath, value: Any, detail: dict[str, Any]
) -> InputError:
    kind, message = cast(str, detail["type"]), cast(str, detail["msg"])
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _fields_at(model, path[len(at) : -1])
        remedy = did_you_mean(str(path[-1]), known) or f"the keys here are {', '.join(sorted(known))}"
        return InputError(f"unknown key `{shown(path[-1])}`", remedy, doc.where_key(*path))
    if kind == "missing":
        return InputError(f"the key `{path[-1]}` is missing", f"add `{path[-1]}:`", doc.where(*path[:-1]))
    where = doc.where(*path)
    if kind in _EXPECTED:
        what, remedy = _EXPECTED[kind]
        return InputError(f"{what}, not {_kind(value)}", remedy, where)
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        options = [part.strip().strip("'") for part in expected.replace(" or ", ",").split(",")]
        remedy = did_you_mean(str(value), options) or f"write one of {', '.join(options)}"
        return InputError(f"`{shown(value)}` is not an option here", remedy, where)
    if kind == "value_error":
        cause = context.get("error")
        if isinstance(cause, InputError):
            return InputError(cause.what, cause.remedy, where)
        return InputError(str(cause), "", where)
    what = message[0].lower() + message[1:].replace("Input should be", "should be")
    return InputError(f"{what.replace('input should be', 'must be')}, not {_kind(value)}", "change the value", where)


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean `x`?` for the nearest known word, empty without a near one."""
    near = get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


__all__ = ["did_you_mean", "dotted", "find_problems", "validate"]
