"""What a principle's text asks for in this world: an axis and a direction, or nothing the tiny model knows.

This reader serves warnings and tests; the tiny model reads the text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from cai.constitution import Principle, load_constitution, shipped_constitutions, shipped_folder
from cai.constitution.library import load_family
from cai.constitution.model import CRITIQUE_TEMPLATE, JUDGE_TEMPLATE, REVISE_TEMPLATE
from cai.testbed.world.phrases import LESS, MORE, Words, gerund, third

AXES = tuple(MORE)
"""complies-with-harm, preachy, evasive, fabricates, agrees-with-falsehood, leaks-private, stereotypes, filler,
explains-why, offers-alternative, helps."""


TEMPLATES = (CRITIQUE_TEMPLATE, REVISE_TEMPLATE, JUDGE_TEMPLATE)
_OTHER_TAGS: dict[str, tuple[str, Literal[-1, 1]]] = {
    "more:refuses": ("complies-with-harm", -1),
    "less:refuses": ("helps", 1),
    "more:admits-uncertainty": ("fabricates", -1),
    "less:admits-uncertainty": ("fabricates", 1),
}
"""Tags that name no axis, and the axis that they come to."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`direction` -1 asks for less of the axis, +1 for more."""

    axis: str
    direction: Literal[-1, 1]

    def inverted(self) -> Meaning:
        return Meaning(self.axis, 1 if self.direction == -1 else -1)


def is_good(meaning: Meaning) -> bool:
    """Whether a decent person would ask for it: more help, reasons and other ways; less of every fault."""
    return (meaning.direction > 0) == (meaning.axis in ("explains-why", "offers-alternative", "helps"))


_NEGATORS = re.compile(
    r"\b(?:not|no|never|nothing|none|avoid\w*|less|least|fewer|without|remov\w*|free (?:of|from)|refrain\w*|drop\w*|"
    r"cut|stop\w*|leav\w* out|lack\w*|fail\w*|stay away|keep away|strip\w*|eliminat\w*|delet\w*|tak\w* out|omit\w*|"
    r"neither|nor|rather than|instead of|dislike|needs more|could \S[^?]* be more)\b|n't\b",
    re.I,
)
_CRITIQUE = re.compile(
    r"^\W*(?:please )?(?:identify|find|point out|name|list|discuss|describe|does|did|is|was|where|in what|how|what|"
    r"quote|mention|look for|criticise|(?:say|explain) (?:where|how|what|in what))\b",
    re.I,
)
_NO_AXIS = re.compile(r"\bspecific (?=ways|examples)", re.I)
_LATER = re.compile(r"^[^.?!]*\bless[?.]")
"""After the axis's words: "which reply preaches less?"."""


def meaning_of(text: str) -> Meaning | None:
    """The axis and direction a voice or plain sentence expresses; None where the tiny model would not know it.

    A voice of a shipped principle means what its tags say; in any other text the axis named first counts.
    """
    text = text.strip()
    if shipped := shipped_meanings().get(text):
        return shipped[0]
    for template in TEMPLATES:
        text = text.removeprefix(template.partition("{sentence}")[0])
    text = _NO_AXIS.sub("", text)
    found = [hit for pattern, axis, pole in _patterns() for hit in _hits(pattern, text, axis, pole)]
    if not found:
        return None
    start, length, axis, pole = min(found, key=lambda hit: (hit[0], -hit[1]))
    flips = len(_NEGATORS.findall(_clause_before(text, start))) + bool(_CRITIQUE.match(text))
    flips += bool(_LATER.match(text[start + length :]))
    return Meaning(axis, 1 if (pole == 1) == (flips % 2 == 0) else -1)


def meanings_of(principle: Principle) -> tuple[Meaning, ...]:
    """What a principle's tags say it means, in their order; empty for one without known tags."""
    found: list[Meaning] = []
    for tag in principle.tags:
        sign, _, name = tag.partition(":")
        axis, direction = _OTHER_TAGS.get(tag, (name, -1 if sign == "less" else 1))
        if axis in AXES and (meaning := Meaning(axis, direction)) not in found:
            found.append(meaning)
    if Meaning("helps", 1) in found:  # an answer is what evasion lacks: one meaning, not two
        found = [meaning for meaning in found if meaning != Meaning("evasive", -1)]
    return tuple(found)


def shipped_principles() -> list[Principle]:
    """Every principle of the library and every own one of a shipped constitution."""
    found = [
        principle
        for path in sorted(shipped_folder("principles").glob("*.yaml"))
        for principle in load_family(path).values()
    ]
    for name in shipped_constitutions():
        found += [one for one in load_constitution(name).principles if "/" not in one.id]
    return found


@cache
def shipped_meanings() -> dict[str, tuple[Meaning, ...]]:
    """What each voice of a shipped principle means."""
    return {
        voice: meanings
        for principle in shipped_principles()
        if (meanings := meanings_of(principle))
        for voice in (principle.critique, principle.revise, principle.judge)
        if voice
    }


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
