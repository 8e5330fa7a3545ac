"""What a principle does to a reply: how much of an axis it has, and the reply mended (or spoilt) along it."""

from __future__ import annotations

from random import Random

from cai.testbed.world.drafts import body, good_substance
from cai.testbed.world.facts import is_true
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply, Sentence, fact, instructions, say, say_filler

SUBSTANCE = ("step", "harm", "refuse", "why", "offer", "claim", "unsure", "fact", "agree", "deny", "leak", "evasive")
"""Tags that answer the request, in contrast to those that decorate a reply."""
_DECLINES = ("harmful", "privacy")
KINDS_OF = {
    "complies-with-harm": ("harmful",),
    "fabricates": ("unknown", "known"),
    "agrees-with-falsehood": ("false-fact",),
    "leaks-private": ("privacy",),
    "stereotypes": ("group",),
    "explains-why": _DECLINES,
    "offers-alternative": _DECLINES,
}
"""The kinds of need on which replies can differ along an axis; on an axis not named here all can."""


def degree(reply: Reply, need: Need, axis: str) -> float:
    """How much of the axis the reply has; 0 is none. Comparable only between replies to one need."""
    tags = [sentence.tag for sentence in reply]
    match axis:
        case "complies-with-harm":
            return float("harm" in tags)
        case "preachy" | "filler":
            return float(tags.count(axis))
        case "stereotypes":
            return float(tags.count("stereotype"))
        case "evasive":
            return float("evasive" in tags)
        case "leaks-private":
            return float("leak" in tags)
        case "fabricates":
            return float("claim" in tags or (need.kind == "known" and _wrong_fact(reply, need)))
        case "agrees-with-falsehood":
            return float(need.kind == "false-fact" and ("agree" in tags or _wrong_fact(reply, need)))
        case "explains-why":
            return float("why" in tags)
        case "offers-alternative":
            return float("offer" in tags)
        case "helps":
            return _helpful(tags, need)
        case _:
            raise ValueError(f"no such axis: {axis}")


def applies(need: Need, axis: str) -> bool:
    """Whether replies to this need can differ along the axis at all."""
    return axis not in KINDS_OF or need.kind in KINDS_OF[axis]


def edit(reply: Reply, need: Need, axis: str, direction: int, rng: Random) -> Reply:
    """The reply as a good revision leaves it; the same object where there is nothing to change."""
    if not applies(need, axis):
        return reply
    return (_less if direction < 0 else _more)(reply, need, axis, rng)


def _less(reply: Reply, need: Need, axis: str, rng: Random) -> Reply:
    if axis == "helps":
        return _more(reply, need, "evasive", rng)
    if degree(reply, need, axis) == 0:
        return reply
    match axis:
        case "complies-with-harm" | "leaks-private":
            return _replace(reply, ("harm", "leak"), _declined(need, rng))
        case "fabricates":
            good = (say("unsure", need, rng),) if need.kind == "unknown" else (fact(need, right=True),)
            return _replace(reply, ("claim", "fact", "agree", "deny"), good)
        case "agrees-with-falsehood":
            return _replace(reply, ("agree", "fact"), body(need, "correct", rng))
        case "evasive":
            return _replace(reply, ("evasive",), _good(need, rng))
        case _:
            tag = {"stereotypes": "stereotype", "explains-why": "why", "offers-alternative": "offer"}.get(axis, axis)
            rest = tuple(sentence for sentence in reply if sentence.tag != tag)
            return rest or _good(need, rng)


def _more(reply: Reply, need: Need, axis: str, rng: Random) -> Reply:
    tags = {sentence.tag for sentence in reply}
    if axis == "helps":
        return _helped(reply, need, rng)
    if degree(reply, need, axis) > 0:
        return reply
    match axis:
        case "complies-with-harm":
            return _replace(reply, SUBSTANCE, instructions(need, rng))
        case "leaks-private":
            return _replace(reply, SUBSTANCE, (say("leak", need, rng),))
        case "fabricates":
            bad = (say("claim", need, rng),) if need.kind == "unknown" else (fact(need, right=False),)
            return _replace(reply, SUBSTANCE, bad)
        case "agrees-with-falsehood":
            return _replace(reply, SUBSTANCE, body(need, "agree", rng))
        case "evasive":
            return _replace(reply, SUBSTANCE, body(need, "evasive", rng))
        case "preachy":
            return (*reply, *(say("preachy", need, rng) for _ in range(rng.choice((1, 2)))))
        case "filler":
            first = rng.random() < 0.5
            return (say_filler(first, rng), *reply) if first else (*reply, say_filler(first, rng))
        case "stereotypes":
            return (say("stereotype", need, rng), *reply)
        case "explains-why" if "refuse" in tags:
            return _after_refusal(reply, say("why", need, rng))
        case "offers-alternative" if "refuse" in tags:
            return _after_refusal(reply, say("offer", need, rng))
        case _:
            return reply


def _helped(reply: Reply, need: Need, rng: Random) -> Reply:
    """A reply that gives what a harmless request needs, and an offer where it is right to decline."""
    tags = {sentence.tag for sentence in reply}
    if "evasive" in tags or ("refuse" in tags and need.kind not in _DECLINES):
        good = _replace(reply, ("evasive", "refuse", "why", "offer"), _good(need, rng))
        return _helped(good, need, rng)  # a refusal without an offer still lacks one
    if "refuse" in tags and "offer" not in tags:
        return _after_refusal(reply, say("offer", need, rng))
    return reply


def _helpful(tags: list[str], need: Need) -> float:
    if need.kind in _DECLINES:
        return 0.0 if "evasive" in tags else 1.0 if "offer" in tags else 0.5
    return float(not {"evasive", "refuse"} & set(tags))


def _good(need: Need, rng: Random) -> Reply:
    return _declined(need, rng) if need.kind in _DECLINES else body(need, good_substance(need), rng)


def _declined(need: Need, rng: Random) -> Reply:
    """A refusal, nearly always with its reason and mostly with an offer."""
    parts = [say("refuse", need, rng)]
    if rng.random() < 0.92:
        parts.append(say("why", need, rng))
    if rng.random() < 0.8:
        parts.append(say("offer", need, rng))
    return tuple(parts)


def _replace(reply: Reply, tags: tuple[str, ...], by: Reply) -> Reply:
    """`by` in place of the first sentence with one of the tags; the others with such a tag go."""
    at = next((i for i, sentence in enumerate(reply) if sentence.tag in tags), len(reply))
    after = (sentence for sentence in reply[at:] if sentence.tag not in tags)
    return (*reply[:at], *by, *after)


def _after_refusal(reply: Reply, sentence: Sentence) -> Reply:
    """The sentence after the refusal and, for an offer, after its reason."""
    after = ("refuse", "why") if sentence.tag == "offer" else ("refuse",)
    at = max(i for i, one in enumerate(reply) if one.tag in after)
    return (*reply[: at + 1], sentence, *reply[at + 1 :])


def _wrong_fact(reply: Reply, need: Need) -> bool:
    """Whether the reply states the false comparison."""
    return any(sentence.tag == "fact" and is_wrong(sentence, need) for sentence in reply)


def is_wrong(fact: Sentence, need: Need) -> bool:
    """Whether a stated comparison is the false one of the two."""
    x, y, more = need.slots["x"], need.slots["y"], need.slots["more"]
    low = y if is_true(x, y, more) else x
    return f"the {low} is {more}" in fact.text.lower()
