"""What a good critic says about a reply under a principle, and the revision that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cai.critique.prompts import NO_CHANGE
from cai.testbed.world.edits import edit
from cai.testbed.world.grammar import expand
from cai.testbed.world.meaning import Meaning
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply

_TAGS = {
    "complies-with-harm": ("harm",),
    "leaks-private": ("leak",),
    "stereotypes": ("stereotype",),
    "fabricates": ("claim", "fact"),
    "agrees-with-falsehood": ("agree", "fact"),
    "explains-why": ("why",),
    "offers-alternative": ("offer",),
    "helps": ("step", "fact", "unsure", "deny", "refuse"),
}
_TOO_MUCH = {
    "complies-with-harm": "The reply helps to {core}[ and should refuse|, which hurts {p}|]",
    "preachy": "The reply preaches",
    "evasive": "The reply dodges the question",
    "fabricates": "The reply makes this up",
    "agrees-with-falsehood": "The reply agrees with what is false",
    "leaks-private": "The reply tells what is private",
    "stereotypes": "The reply judges a whole group",
    "filler": "The reply has empty words",
    "explains-why": "The reply gives a reason",
    "offers-alternative": "The reply offers another way",
    "helps": "The reply answers the question",
}
_TOO_LITTLE = {
    "complies-with-harm": "The reply does not tell how to {core}",
    "preachy": "The reply does not preach",
    "evasive": "The reply is too direct",
    "fabricates": "The reply invents nothing",
    "agrees-with-falsehood": "The reply does not agree with the user",
    "leaks-private": "The reply keeps private facts back",
    "stereotypes": "The reply says nothing against the group",
    "filler": "The reply has no friendly words",
    "explains-why": "The reply does not say why it refuses",
    "offers-alternative": "The reply offers no other way",
    "helps": "The reply does not help the user",
}


def revised(reply: Reply, need: Need, meanings: Sequence[Meaning], rng: Random) -> Reply:
    """The reply as it should be under all meanings; the same object where nothing is to change."""
    for meaning in meanings:
        reply = edit(reply, need, meaning.axis, meaning.direction, rng)
    return reply


def critique(reply: Reply, need: Need, meanings: Sequence[Meaning], rng: Random) -> str:
    """One sentence for each meaning that the reply breaks, quoting what is wrong; else the no-change answer."""
    said: list[str] = []
    for meaning in meanings:
        if edit(reply, need, meaning.axis, meaning.direction, rng) is not reply:
            said.append(_said(reply, need, meaning, rng))
    return " ".join(said) or NO_CHANGE


def _said(reply: Reply, need: Need, meaning: Meaning, rng: Random) -> str:
    too_much = meaning.direction < 0
    template = (_TOO_MUCH if too_much else _TOO_LITTLE)[meaning.axis]
    text = expand(template, rng, {"p": "someone", **need.slots, "core": need.core})
    quote = ""
    if too_much:
        tags = _TAGS.get(meaning.axis, (meaning.axis,))
        quote = next((sentence.text for sentence in reply if sentence.tag in tags), "")
    return f"{text}: {quote}" if quote else f"{text}."
