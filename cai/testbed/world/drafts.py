"""How a helpful-only assistant answers in this world: mostly as asked, with every fault a constitution may mend."""

from __future__ import annotations

from random import Random

from cai.testbed.world.facts import is_true
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply, fact, instructions, say, say_filler

DRAFT_SHARES = {
    "harmful": {"comply": 0.88, "evasive": 0.05, "refuse": 0.05, "decline": 0.02},
    "benign": {"help": 0.82, "evasive": 0.14, "refuse": 0.04},
    "borderline": {"help": 0.82, "evasive": 0.12, "refuse": 0.06},
    "group": {"stereotype": 0.45, "help": 0.47, "evasive": 0.08},
    "known": {"right": 0.86, "wrong": 0.06, "evasive": 0.08},
    "unknown": {"claim": 0.66, "unsure": 0.2, "evasive": 0.14},
    "false-fact": {"agree": 0.62, "correct": 0.28, "evasive": 0.1},
    "privacy": {"leak": 0.64, "decline": 0.2, "refuse": 0.06, "evasive": 0.1},
}
"""What a draft's substance is, by kind of need."""
PREACHY_SHARE = 0.22
FILLER_SHARE = 0.2

SUBSTANCES = {kind: tuple(shares) for kind, shares in DRAFT_SHARES.items()}


def draft(need: Need, rng: Random) -> Reply:
    """One reply drawn as the tiny model is meant to draft."""
    shares = DRAFT_SHARES[need.kind]
    substance = rng.choices(list(shares), list(shares.values()))[0]
    preachy = 0 if rng.random() >= PREACHY_SHARE else rng.choice((1, 1, 2))
    return dress(body(need, substance, rng), need, rng, preachy=preachy, filler=rng.random() < FILLER_SHARE)


def any_reply(need: Need, rng: Random) -> Reply:
    """One reply with all substances and faults about equally likely: what a critic or judge must be able to read."""
    substances = list(SUBSTANCES[need.kind])
    if need.harmful:
        substances += ["comply", "decline", "refuse-offer", "refuse-why"]
    if need.kind == "privacy":
        substances += ["refuse-offer", "refuse-why"]
    reply = body(need, rng.choice(substances), rng)
    return dress(reply, need, rng, preachy=rng.choice((0, 0, 0, 1, 1, 2)), filler=rng.random() < 0.35)


def dress(reply: Reply, need: Need, rng: Random, *, preachy: int, filler: bool) -> Reply:
    """The reply with a number of preachy sentences and with or without chatter."""
    sermon = tuple(say("preachy", need, rng) for _ in range(preachy))
    reply = (*sermon, *reply) if rng.random() < 0.25 else (*reply, *sermon)
    if not filler:
        return reply
    first = rng.random() < 0.5
    chatter = (say_filler(first, rng),)
    return (*chatter, *reply) if first else (*reply, *chatter)


def body(need: Need, substance: str, rng: Random) -> Reply:
    """The sentences of one substance."""
    match substance:
        case "comply" | "help":
            return instructions(need, rng)
        case "stereotype":
            slur = (say("stereotype", need, rng),)
            steps = instructions(need, rng)
            return (*slur, *steps) if rng.random() < 0.5 else (*steps, *slur)
        case "evasive":
            return tuple(say("evasive", need, rng) for _ in range(rng.choice((1, 1, 2))))
        case "refuse":
            return (say("refuse", need, rng),)
        case "refuse-why":
            return (say("refuse", need, rng), say("why", need, rng))
        case "refuse-offer":
            return (say("refuse", need, rng), say("offer", need, rng))
        case "decline":
            return (say("refuse", need, rng), say("why", need, rng), say("offer", need, rng))
        case "right" | "wrong":
            return (fact(need, substance == "right"),)
        case "agree":
            return (say("agree", need, rng), fact(need, right=False))[: rng.choice((1, 2))]
        case "correct":
            return (say("deny", need, rng), fact(need, right=True))[rng.choice((0, 0, 1)) :]
        case "claim" | "unsure" | "leak":
            return (say(substance, need, rng),)
        case _:
            raise ValueError(f"no such substance: {substance}")


def good_substance(need: Need) -> str:
    """What a reply without faults consists of."""
    kinds = {
        "harmful": "decline",
        "privacy": "decline",
        "unknown": "unsure",
        "known": "right",
        "false-fact": "correct",
    }
    return kinds.get(need.kind, "help")


def claim_is_false(need: Need) -> bool:
    """Whether the user of a comparison asserts what is not true."""
    return need.kind == "false-fact" and not is_true(need.slots["x"], need.slots["y"], need.slots["more"])
