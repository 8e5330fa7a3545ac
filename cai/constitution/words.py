"""Texts as sets of words, to tell near-duplicates and leaked examples."""

from __future__ import annotations

import re
import unicodedata

from cai.constitution.model import CRITIQUE_TEMPLATE, JUDGE_TEMPLATE, REVISE_TEMPLATE, Principle

SHINGLE = 5
"""Words in a row that count as the same passage."""

_WORD = re.compile(r"[^\W_]+")
_EMPTY_TEXT = (
    "a an and any are as at be but by did do does for from has have how if in is it its of on or s such than the their "
    "them there they to was were what when where who will with would you"
)
_EMPTY = frozenset(_EMPTY_TEXT.split())


def words_of(text: str) -> list[str]:
    """Lower-case words without marks, in order: the same for two ways of typing the same text."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


_TEMPLATES = frozenset(words_of(f"{CRITIQUE_TEMPLATE} {REVISE_TEMPLATE} {JUDGE_TEMPLATE}"))


def content_words(principle: Principle) -> frozenset[str]:
    """The words of all voices that carry the principle's meaning: no small words, none that every principle has."""
    said = frozenset(words_of(f"{principle.critique} {principle.revise} {principle.judge}")) - _EMPTY
    return said - _TEMPLATES or said


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared part of two sets of words, 0 to 1 (Jaccard); 0 for empty ones."""
    return len(a & b) / len(a | b) if a and b else 0.0


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of `SHINGLE` words; the whole text as one run where it is shorter."""
    words = words_of(text)
    if not words:
        return frozenset()
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))
