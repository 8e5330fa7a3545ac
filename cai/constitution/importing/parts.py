"""What an import yields, whatever its format: principles and few-shots, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from cai.constitution.files import MAX_EXAMPLE, MAX_VOICE
from cai.constitution.model import Example, Principle
from cai.errors import InputError, Where

_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Parts:
    """Principles and few-shots from one file; `notes` says what of the file is not in them."""

    format: str
    principles: tuple[Principle, ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


def is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    """A JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """A JSON array."""
    return isinstance(value, list)


def clean(text: object, where: Where, *, limit: int = MAX_VOICE) -> str:
    """Text from another format without control characters and outer space. Raises `InputError` if it is not text."""
    if not isinstance(text, str):
        raise InputError(f"text was expected, not {type(text).__name__}", "mend the file", where)
    kept = _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not kept:
        raise InputError("empty text", "delete the entry", where)
    if len(kept) > limit:
        raise InputError(f"a text of {len(kept):,} characters, more than {limit:,}", "shorten it", where)
    return kept


def clean_example(text: object, where: Where) -> str:
    """`clean` with the limit of few-shots."""
    return clean(text, where, limit=MAX_EXAMPLE)


def slug(text: str, taken: Iterable[str], *, words: int = 6) -> str:
    """A short id from a text's first words that is not taken yet."""
    base = "-".join(re.findall(r"[a-z0-9]+", text.lower())[:words])[:56].strip("-") or "principle"
    known, id, count = set(taken), base, 2
    while id in known:
        id, count = f"{base}-{count}", count + 1
    return id
