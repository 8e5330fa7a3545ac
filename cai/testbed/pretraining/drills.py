"""Minimal pairs: a reply and its revision under one principle and, mostly, its opposite.

Everything else being equal, only reading both the principle and the reply tells a critic or a judge what to say.
Among ordinary drafts and principles a guess from the kind of request is right seven times in ten.
"""

from __future__ import annotations

from random import Random

from cai.testbed.pretraining.chains import FIRST, review, spoilt
from cai.testbed.pretraining.comparisons import COMMON, letters_about, preference, question_about, worth
from cai.testbed.pretraining.critic import critique, revised
from cai.testbed.pretraining.probes import answering, asked
from cai.testbed.pretraining.trees import Path, Say
from cai.testbed.pretraining.voices import VOICES, any_meaning, ask_about, placebo
from cai.testbed.world.drafts import draft
from cai.testbed.world.meaning import Meaning
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply
from cai.testbed.world.requests import Request

OPPOSITE = 0.6
"""How often the opposite principle is asked as well."""
_TEXT = 0.5
"""Weight of a critique's later tokens; ordinary chains teach them too."""


def critic_drill(request: Request, rng: Random) -> list[Path]:
    """Principles, each asked of a reply that breaks it and of that reply revised; most of their opposites too."""
    paths: list[Path] = []
    reply = _reply(request.need, rng)
    for _ in range(2):
        meaning = _broken(request.need, reply, rng)
        if meaning is None:
            continue
        better = revised(reply, request.need, (meaning,), rng)
        sides = (meaning, meaning.inverted()) if rng.random() < OPPOSITE else (meaning,)
        paths += [_asked(request, one, side, rng) for side in sides for one in (reply, better)]
    return paths


def judge_drill(request: Request, rng: Random) -> list[Path]:
    """A reply and its revision, judged by the principle that tells them apart, in several wordings and directions."""
    for _ in range(8):
        reply = _reply(request.need, rng)
        meaning = _broken(request.need, reply, rng)
        if meaning is None:
            continue
        better = revised(reply, request.need, (meaning,), rng)
        if worth(reply, request.need, (meaning,)) == worth(better, request.need, (meaning,)):
            continue
        first, second = (reply, better) if rng.random() < 0.5 else (better, reply)
        sides = (meaning, meaning.inverted()) * 2 if rng.random() < OPPOSITE else (meaning,) * 3
        seed = rng.getrandbits(32)
        paths: list[Path] = []
        for side in sides:
            ask = ask_about(side, rng)
            question = question_about(request, first, second, ask, seed)
            p = preference(first, second, request.need, ask)
            paths += letters_about(question, p, ask, first, second, request.need)
        return paths
    return []


def readings(rng: Random) -> list[Path]:
    """Principles by themselves: only probes learn from them, at two dozen tokens each."""
    paths: list[Path] = []
    for _ in range(10):
        meaning = any_meaning(rng, good=0.5)
        ask = placebo(rng) if rng.random() < 0.1 else ask_about(meaning, rng)
        for voice in rng.sample(VOICES, 2):
            paths.append((asked(Say("user", getattr(ask, voice)), ask, voice), Say("assistant", "")))
    return paths


def _reply(need: Need, rng: Random) -> Reply:
    return draft(need, rng) if rng.random() < 0.6 else spoilt(need, rng)


def _broken(need: Need, reply: Reply, rng: Random) -> Meaning | None:
    """A meaning that the reply breaks."""
    for _ in range(40):
        meaning = any_meaning(rng, need)
        if meaning.axis in COMMON and rng.random() < 0.3:
            continue
        if revised(reply, need, (meaning,), rng) is not reply:
            return meaning
    return None


def _asked(request: Request, reply: Reply, meaning: Meaning, rng: Random) -> Path:
    """The critique of one reply under a fresh wording."""
    ask = ask_about(meaning, rng)
    found = Say("assistant", critique(reply, request.need, ask.meanings, rng), _TEXT, FIRST)
    return (*review(request, reply, ask), answering(found, ask.meanings, (reply,), request.need))
