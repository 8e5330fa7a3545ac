"""Minimal pairs: a reply and its revision under one principle and its opposite.

Everything else being equal, only reading both the principle and the reply tells a critic or a judge what to say.
Among ordinary drafts and principles a guess from the kind of request is right seven times in ten, and a small model
learns the guess and stops there.
"""

from __future__ import annotations

from random import Random

from cai.critique.prompts import critique_turns
from cai.engine.protocol import Turn
from cai.testbed.pretraining.chains import FIRST, spoilt
from cai.testbed.pretraining.comparisons import COMMON, letter_paths, worth
from cai.testbed.pretraining.critic import critique, revised
from cai.testbed.pretraining.exams import held, wanted
from cai.testbed.pretraining.trees import Path, Say
from cai.testbed.pretraining.voices import any_meaning, ask_about
from cai.testbed.world.drafts import draft
from cai.testbed.world.meaning import Meaning, is_good
from cai.testbed.world.replies import Reply, text_of
from cai.testbed.world.requests import Need, Request

OPPOSITE = 0.25
"""How often the opposite principle is asked as well. As often as the principle itself, the two cancel out before the
model has learned to tell them apart: it fell back from nine letters of ten right to five."""
_TEXT = 0.5
"""Weight of a critique's later tokens; ordinary chains teach them too."""


def critic_drill(request: Request, rng: Random, *, easy: bool) -> list[Path]:
    """Principles, each asked of a reply that breaks it and of that reply revised; some of their opposites too."""
    paths: list[Path] = []
    reply = draft(request.need, rng) if rng.random() < 0.6 else spoilt(request.need, rng)
    for _ in range(3 if easy else 2):
        meaning = _broken(request.need, reply, rng, easy=easy)
        if meaning is None:
            continue
        better = revised(reply, request.need, (meaning,), rng)
        sides = (meaning, meaning.inverted()) if not easy and rng.random() < OPPOSITE else (meaning,)
        paths += [_asked(request, one, side, rng) for side in sides for one in (reply, better)]
    return paths


def judge_drill(request: Request, rng: Random, *, easy: bool) -> list[Path]:
    """A reply and its revision, judged by the principle that tells them apart, in several wordings and directions."""
    for _ in range(8):
        reply = draft(request.need, rng) if rng.random() < 0.6 else spoilt(request.need, rng)
        meaning = _broken(request.need, reply, rng, easy=easy)
        if meaning is None:
            continue
        better = revised(reply, request.need, (meaning,), rng)
        if worth(reply, request.need, (meaning,)) == worth(better, request.need, (meaning,)):
            continue
        first, second = (reply, better) if rng.random() < 0.5 else (better, reply)
        opposite = not easy and rng.random() < OPPOSITE
        sides = (meaning, meaning.inverted()) * 2 if opposite else (meaning,) * 3
        seed = rng.getrandbits(32)
        paths: list[Path] = []
        for index, side in enumerate(sides):
            ask = ask_about(side, rng)
            letters, given = letter_paths(request, (first, second), ask, seed)
            paths += [*letters, wanted(given, ask.meanings)]
            if index == 0:
                paths += [held(given, first, "A"), held(given, second, "B")]
        return paths
    return []


def _broken(need: Need, reply: Reply, rng: Random, *, easy: bool) -> Meaning | None:
    """A meaning that the reply breaks; an easy one asks for what is good."""
    for _ in range(40):
        meaning = any_meaning(rng)
        if not is_good(meaning) and (easy or rng.random() < 0.7):
            continue
        if meaning.axis in COMMON and rng.random() < 0.3:
            continue
        if revised(reply, need, (meaning,), rng) is not reply:
            return meaning
    return None


def _asked(request: Request, reply: Reply, meaning: Meaning, rng: Random) -> Path:
    """The critique of one reply under a fresh wording."""
    ask = ask_about(meaning, rng)
    asked = critique_turns(request.prompt, Turn("assistant", text_of(reply)), ask.principle)
    head = tuple(Say(one.role, one.content) for one in asked)
    return (*head, Say("assistant", critique(reply, request.need, ask.meanings, rng), _TEXT, FIRST))
