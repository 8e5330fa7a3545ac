"""Tell the formats apart by what is in a file, and put several files together to one constitution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.constitution.importing.headings import is_specification, read_specification
from cai.constitution.importing.paper import (
    is_instructions,
    is_judge_principles,
    is_transcripts,
    read_instructions,
    read_judge_principles,
    read_transcripts,
)
from cai.constitution.importing.parts import Parts, is_list, is_mapping
from cai.constitution.importing.sentences import read_lines, read_list
from cai.constitution.importing.swarm import is_swarm, read_swarm
from cai.constitution.model import Constitution, Principle
from cai.errors import InputError, Where
from cai.strict_yaml import load, read_text

LARGEST = 8 << 20
"""Bytes of a file to import."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A constitution from other formats, with a line a file on what was read and lines on what was left out."""

    constitution: Constitution
    found: tuple[str, ...]
    notes: tuple[str, ...]


def read_files(paths: Sequence[Path], *, name: str) -> Imported:
    """Read each file in its own format and join them. Raises `InputError` for what is none of them."""
    principles: dict[str, Principle] = {}
    parts = [read_file(path) for path in paths]
    for part, path in zip(parts, paths, strict=True):
        for principle in part.principles:
            id = _free_id(principle.id, principles, path)
            principles[id] = principle.model_copy(update={"id": id})
    examples = tuple(example for part in parts for example in part.examples)
    if not principles:
        what = "no principles, only few-shots" if examples else "no principles"
        raise InputError(what, "add the file that holds the principles", Where(", ".join(map(str, paths))))
    formats = ", ".join(dict.fromkeys(part.format for part in parts))
    constitution = Constitution(
        name=name, description=f"Imported: {formats}.", principles=tuple(principles.values()), examples=examples
    )
    found = tuple(
        f"{path}: {part.format}: {len(part.principles)} principles, {len(part.examples)} examples"
        for path, part in zip(paths, parts, strict=True)
    )
    return Imported(constitution, found, tuple(note for part in parts for note in part.notes))


def _free_id(id: str, taken: dict[str, Principle], path: Path) -> str:
    if id not in taken:
        return id
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in path.stem)[:20].strip("-")
    candidates = (f"{id}-{stem}-{count}" if count > 1 else f"{id}-{stem}" for count in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate not in taken)


def read_file(path: Path) -> Parts:
    """One file in whichever format it is in."""
    where = Where(path)
    text = read_text(path, limit=LARGEST)
    if not text.strip():
        raise InputError("the file is empty", "name a file with principles", where)
    if path.suffix.lower() == ".json" or text.lstrip()[0] in "[{":
        return _from_json(_parse(text, path), where)
    if path.suffix.lower() in (".yaml", ".yml"):
        value = load(path).value
        if is_list(value):
            return read_list(value, where)
        raise InputError("a YAML file to import is a list of sentences", "a constitution needs no import", where)
    if is_specification(text):
        return read_specification(text, where)
    return read_lines(text, where)


def _from_json(data: object, where: Where) -> Parts:
    if is_mapping(data) and is_swarm(data):
        return read_swarm(data, where)
    if is_mapping(data) and is_instructions(data):
        return read_instructions(data, where)
    if is_list(data):
        if is_transcripts(data):
            return read_transcripts(data, where)
        if is_judge_principles(data):
            return read_judge_principles(data, where)
        return read_list(data, where)
    known = (
        "critique instructions, few-shot transcripts or judge principles of the CAI paper, llm-swarm, a list of texts"
    )
    raise InputError("a JSON file in none of the known formats", f"known are: {known}", where)


def _parse(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"this is not JSON: {error.msg}", "mend it here", Where(path, error.lineno, error.colno)
        ) from None
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"this JSON cannot be read: {reason}", "mend the file", Where(path)) from None
