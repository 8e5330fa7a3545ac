"""A plain list of sentences: one principle a line, with or without bullets or numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cai.constitution.importing.parts import Parts, clean, slug
from cai.constitution.model import Principle
from cai.errors import InputError, Where

_BULLET = re.compile(r"^\s*(?:[-*+•–]|\(?\d{1,4}[.):])\s+")
_HEADING = re.compile(r"^\s*(?:#|={3,}\s*$|-{3,}\s*$)")


def read_lines(text: str, where: Where) -> Parts:
    """Every line that is not empty and no heading or comment is a sentence."""
    lines = text.splitlines()
    numbered = [(i, _BULLET.sub("", line).strip()) for i, line in enumerate(lines, 1) if not _HEADING.match(line)]
    said = [(Where(where.file, line), sentence) for line, sentence in numbered if sentence]
    skipped = sum(bool(_HEADING.match(line)) for line in lines)
    note = f"{where.file}: {skipped} headings or comments left out"
    return _parts(said, where, (note,) if skipped else ())


def read_list(items: Iterable[object], where: Where) -> Parts:
    """A JSON or YAML list of sentences."""
    said = [(Where(where.file, key=f"[{index}]"), item) for index, item in enumerate(items)]
    return _parts(said, where, ())


def _parts(said: Iterable[tuple[Where, object]], where: Where, notes: tuple[str, ...]) -> Parts:
    principles: dict[str, Principle] = {}
    for here, item in said:
        sentence = clean(item, here)
        id = slug(sentence, principles)
        principles[id] = Principle.from_sentence(id, sentence)
    if not principles:
        raise InputError("no sentences in it", "write one principle a line", where)
    return Parts("list of sentences", tuple(principles.values()), notes=notes)
