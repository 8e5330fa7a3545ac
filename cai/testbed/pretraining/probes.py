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
from cai.testbed.world.edits import degree
from cai.testbed.world.facts import is_true
from cai.testbed.world.meaning import AXES, Meaning
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply, text_of

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


HEADS = {
    "sentence": Head(2, len(_TAGS), 0.5),
    "wanted": Head(3, 2 * len(AXES) + 1, 2.0),
    "first": Head(4, len(_DEGREES) + 2, 2.0),
    "second": Head(4, len(_DEGREES) + 2, 2.0),
}
"""At a sentence's end: what it is. After a principle, and where the answer begins: axis and direction. There too: how
much of that axis the reply under review has, or each of the two that are compared."""


def sentences(reply: Reply, need: Need, start: int = 0) -> tuple[Probe, ...]:
    """One probe at each sentence's end; the reply begins at character `start` of the turn."""
    found: list[Probe] = []
    at = start
    for sentence in reply:
        at += len(sentence.text)
        found.append(Probe(at, "sentence", _TAGS.index(_kind(sentence.tag, sentence.text, need))))
        at += 1
    return tuple(found)


def said(reply: Reply, need: Need, weight: float = 0.0) -> Say:
    """The reply as an assistant's turn."""
    return Say("assistant", text_of(reply), weight, probes=sentences(reply, need))


def asked(say: Say, voice: str, meanings: Sequence[Meaning], replies: Sequence[Reply] = (), need: Need | None = None):
    """The asking turn with a probe after its principle, and one at each sentence of the replies it quotes."""
    found: list[Probe] = []
    if voice:
        found.append(Probe(say.content.rindex(voice) + len(voice), "wanted", _wanted(meanings)))
    marks = list(re.finditer(r"<reply[^>]*>\n", say.content))
    for mark, reply in zip(marks, replies, strict=False):
        assert need is not None
        found += sentences(reply, need, mark.end())
    return replace(say, probes=(*say.probes, *found))


def answering(say: Say, meanings: Sequence[Meaning], replies: Sequence[Reply], need: Need) -> Say:
    """The answering turn with probes where it begins; up to two replies are weighed."""
    found = [Probe(0, "wanted", _wanted(meanings))]
    found += [
        Probe(0, name, _amount(reply, need, meanings))
        for name, reply in zip(("first", "second"), replies, strict=False)
    ]
    return replace(say, probes=(*found, *say.probes))


def on_last(path: Path, voice: str, meanings: Sequence[Meaning], replies: Sequence[Reply], need: Need) -> Path:
    """The path with its last turn as `asked`."""
    return (*path[:-1], asked(path[-1], voice, meanings, replies, need))


def _wanted(meanings: Sequence[Meaning]) -> int:
    if not meanings:
        return 0
    return 1 + 2 * AXES.index(meanings[0].axis) + (meanings[0].direction > 0)


def _amount(reply: Reply, need: Need, meanings: Sequence[Meaning]) -> int:
    if not meanings:
        return len(_DEGREES) + 1
    amount = degree(reply, need, meanings[0].axis)
    return _DEGREES.index(amount) if amount in _DEGREES else len(_DEGREES)


def _kind(tag: str, text: str, need: Need) -> str:
    if tag != "fact":
        return tag
    x, y, more = need.slots["x"], need.slots["y"], need.slots["more"]
    low = y if is_true(x, y, more) else x
    return "wrong" if f"the {low} is {more}" in text.lower() else "right"
