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


_NEGATIONS = frozenset(["avoid", "cannot", "don", "doesn", "never", "no", "nor", "not", "refrain", "without"])
_ENDINGS = (("ies", "y", 5), ("ing", "", 6), ("ed", "", 5), ("es", "", 5), ("s", "", 4))
"""Ending, what takes its place, and letters of the shortest word that loses it."""


def _stems(text: str) -> frozenset[str]:
    """Words without their endings, so that `replies` is `reply`; every way to say no is `not`."""
    return frozenset(_stem(word) for word in words_of(text) if len(word) > 1 and word not in _EMPTY)


def _stem(word: str) -> str:
    if word in _NEGATIONS:
        return "not"
    for ending, instead, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) >= shortest and not word.endswith("ss"):
            return word.removesuffix(ending) + instead
    return word


_TEMPLATES = _stems(f"{CRITIQUE_TEMPLATE} {REVISE_TEMPLATE} {JUDGE_TEMPLATE}")


def content_words(principle: Principle) -> frozenset[str]:
    """The words of all voices that carry the principle's meaning: no small words, none that every principle has."""
    said = _stems(f"{principle.critique} {principle.revise} {principle.judge}")
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
