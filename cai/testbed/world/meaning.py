"""What a principle's text asks for in this world: an axis and a direction, or nothing the tiny model knows.

This reader serves warnings and tests; the tiny model reads the text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from cai.testbed.world.phrases import LESS, MORE, Words, gerund, third

AXES = tuple(MORE)
"""complies-with-harm, preachy, evasive, fabricates, agrees-with-falsehood, leaks-private, stereotypes, filler,
explains-why, offers-alternative, helps."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`direction` -1 asks for less of the axis, +1 for more."""

    axis: str
    direction: Literal[-1, 1]

    def inverted(self) -> Meaning:
        return Meaning(self.axis, 1 if self.direction == -1 else -1)


_NEGATORS = re.compile(
    r"\b(?:not|no|never|nothing|none|avoid\w*|less|least|fewer|without|remov\w*|free (?:of|from)|refrain\w*|drop\w*|"
    r"cut\w*|stop\w*|leav\w* out|lack\w*|fail\w*|stay\w* away|strip\w*|eliminat\w*|delet\w*|tak\w* out|omit\w*|"
    r"neither|nor|stay clear|fix|mend|repair|rather than|instead of|should have kept|miss\w*|keep\w* clear)\b|n't\b",
    re.I,
)
_CRITIQUE = re.compile(
    r"^\W*(?:\w+, )?(?:please )?(?:identify|find|point out|name|list|discuss|describe|say (?:where|how|what)|does|did|"
    r"is|was|where|in what|how|what|quote|mention|look for|criticise|explain (?:where|how|what))\b",
    re.I,
)


def meaning_of(text: str) -> Meaning | None:
    """The axis and direction a voice or plain sentence expresses; None where the tiny model would not know it.

    Of several axes the one named first counts.
    """
    found = [hit for pattern, axis, pole in _patterns() for hit in _hits(pattern, text, axis, pole)]
    if not found:
        return None
    start, _, axis, pole = min(found, key=lambda hit: (hit[0], -hit[1]))
    before = _clause_before(text, start)
    flips = len(_NEGATORS.findall(before)) + bool(_CRITIQUE.match(text))
    return Meaning(axis, 1 if (pole == 1) == (flips % 2 == 0) else -1)


def _clause_before(text: str, start: int) -> str:
    return re.split(r"(?<=[.:;!?])\s", text[:start])[-1]


def _hits(pattern: re.Pattern[str], text: str, axis: str, pole: int) -> list[tuple[int, int, str, int]]:
    return [(m.start(), m.end() - m.start(), axis, pole) for m in pattern.finditer(text)]


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str, int], ...]:
    return tuple(
        (re.compile(rf"\b(?:{'|'.join(re.escape(form) for form in _forms(words))})\b", re.I), axis, pole)
        for table, pole in ((MORE, 1), (LESS, -1))
        for axis, words in table.items()
    )


def _forms(words: Words) -> list[str]:
    verbs = [form for verb in words.verbs for form in (verb, third(verb), gerund(verb))]
    return sorted((*words.adjectives, *words.nouns, *verbs), key=len, reverse=True)
