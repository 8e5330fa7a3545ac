"""What the layers below the answer should already know, asked of them while they learn.

A letter or a critique's first word is one token that depends on three readings: what the principle wants, what each
sentence of a reply is, and how much of the one is in the other. From that token alone a small model learns to guess.
So in training a linear *probe* on a lower layer is asked for each reading at the place where it can first be known;
probes are thrown away afterwards, and the model is an ordinary one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cai.testbed.pretraining.trees import Path, Probe, Say
from cai.testbed.pretraining.voices import VOICES, Ask, Voice
from cai.testbed.world.edits import degree, is_wrong
from cai.testbed.world.meaning import AXES, Meaning
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply, Sentence, text_of

_TAGS = (
    *("step", "harm", "refuse", "why", "offer", "evasive", "preachy", "claim", "unsure", "right", "wrong", "agree"),
    *("deny", "leak", "stereotype", "filler", "lure"),
)
"""A sentence's tag; a fact is `right` or `wrong`."""
_DEGREES = (0.0, 0.5, 1.0)
"""More counts as one class more, and no axis at all as another."""


@dataclass(frozen=True, slots=True)
class Head:
    """A probe's place: after how many layers it reads, and between how many answers it chooses."""

    layer: int
    answers: int
    weight: float
    each: bool = False
    """Whether it answers yes or no to each of `answers`; the label is then a number whose bits are the answers."""


HEADS = {
    "sentence": Head(2, len(_TAGS), 0.5),
    "side": Head(2, 2, 1.0),
    "avoid": Head(2, 2, 1.0),
    "more": Head(2, 2, 1.0),
    "wanted": Head(3, 2 * len(AXES) + 1, 2.0),
    "holds": Head(3, len(AXES), 0.3, each=True),
    "first holds": Head(4, len(AXES), 1.0, each=True),
    "second holds": Head(4, len(AXES), 1.0, each=True),
    "first": Head(5, len(_DEGREES) + 2, 2.0),
    "second": Head(5, len(_DEGREES) + 2, 2.0),
}
"""At a sentence's end: what it is, in which of two replies, and which axes that reply has had up to here. After a
principle: whether its frame asks for less, whether its words name a reply that has the attribute, and what the two come
to: axis and direction. Where the answer begins: that again, which axes each reply under review has, and how much it has
of the one in question."""
_RARE = ("fabricates", "agrees-with-falsehood", "leaks-private", "stereotypes")
_SELDOM = ("filler", "explains-why", "offers-alternative")
BITS = tuple(4.0 if axis in _RARE else 2.0 if axis in _SELDOM else 1.0 for axis in AXES)
"""Weight of each axis where a head answers yes or no to each. Unweighted, "no" to what is rare stays the answer."""


def sentences(reply: Reply, need: Need, start: int = 0) -> tuple[Probe, ...]:
    """Probes at each sentence's end; the reply begins at character `start` of the turn."""
    found: list[Probe] = []
    at = start
    for index, sentence in enumerate(reply):
        at += len(sentence.text)
        found.append(Probe(at, "sentence", _TAGS.index(_kind(sentence, need))))
        found.append(Probe(at, "holds", _holds(reply[: index + 1], need)))
        at += 1
    return tuple(found)


def said(reply: Reply, need: Need, weight: float = 0.0) -> Say:
    """The reply as an assistant's turn."""
    return Say("assistant", text_of(reply), weight, probes=sentences(reply, need))


def asked(say: Say, ask: Ask, voice: Voice, replies: Sequence[Reply] = (), need: Need | None = None) -> Say:
    """The asking turn with probes after its principle, and at each sentence of the replies it quotes."""
    found: list[Probe] = []
    if text := getattr(ask, voice):
        at = say.content.rindex(text) + len(text)
        found.append(Probe(at, "wanted", _wanted(ask.meanings)))
        if ask.wordings:
            wording = ask.wordings[VOICES.index(voice)]
            found += [Probe(at, "avoid", int(wording.avoid)), Probe(at, "more", int(wording.more))]
    marks = re.finditer(r"<reply[^>]*>\n", say.content)
    for side, (mark, reply) in enumerate(zip(marks, replies, strict=False)):
        assert need is not None
        inside = sentences(reply, need, mark.end())
        found += inside
        if side < 2:
            found += [Probe(probe.at, "side", side) for probe in inside if probe.head == "sentence"]
    return replace(say, probes=(*say.probes, *found))


def answering(say: Say, meanings: Sequence[Meaning], replies: Sequence[Reply], need: Need) -> Say:
    """The answering turn with probes where it begins; up to two replies are weighed."""
    found = [Probe(0, "wanted", _wanted(meanings))]
    for name, reply in zip(("first", "second"), replies, strict=False):
        found.append(Probe(0, f"{name} holds", _holds(reply, need)))
        found.append(Probe(0, name, _amount(reply, need, meanings)))
    return replace(say, probes=(*found, *say.probes))


def on_last(path: Path, ask: Ask, replies: Sequence[Reply], need: Need) -> Path:
    """The path with its last turn, a judge's question, as `asked`."""
    return (*path[:-1], asked(path[-1], ask, "judge", replies, need))


def _wanted(meanings: Sequence[Meaning]) -> int:
    if not meanings:
        return 0
    return 1 + 2 * AXES.index(meanings[0].axis) + (meanings[0].direction > 0)


def _holds(reply: Reply, need: Need) -> int:
    return sum(1 << index for index, axis in enumerate(AXES) if degree(reply, need, axis) > 0)


def _amount(reply: Reply, need: Need, meanings: Sequence[Meaning]) -> int:
    if not meanings:
        return len(_DEGREES) + 1
    amount = degree(reply, need, meanings[0].axis)
    return _DEGREES.index(amount) if amount in _DEGREES else len(_DEGREES)


def _kind(sentence: Sentence, need: Need) -> str:
    if sentence.tag != "fact":
        return sentence.tag
    return "wrong" if is_wrong(sentence, need) else "right"
