"""Draft, critique, revision: the trees of one request, rendered by the functions that `cai critique` asks with."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cai.constitution.model import Example
from cai.critique.prompts import NO_CHANGE, ask_revise, critique_turns, draft_turns
from cai.engine.protocol import Turn
from cai.testbed.pretraining.critic import critique, revised
from cai.testbed.pretraining.probes import answering, asked, said
from cai.testbed.pretraining.trees import Path, Say
from cai.testbed.pretraining.voices import Ask, any_meaning, ask_about, placebo
from cai.testbed.world.drafts import any_reply, draft
from cai.testbed.world.edits import applies
from cai.testbed.world.need import Need
from cai.testbed.world.replies import Reply, text_of
from cai.testbed.world.requests import Request

FIRST = 10.0
"""Weight of a critique's first token: it decides whether there is a problem at all."""


def chain_paths(request: Request, rng: Random, examples: Sequence[Example] = ()) -> list[Path]:
    """All paths of one request: drafts to learn, and replies of every quality under several principles each."""
    paths: list[Path] = []
    for quality in ("draft", "any"):
        if quality == "draft":
            reply, weight = draft(request.need, rng), 1.0
        else:
            reply, weight = spoilt(request.need, rng), 0.0
        if not examples:
            paths.append((*_says(draft_turns(request.prompt)), said(reply, request.need, weight)))
        for _ in range(2):
            paths += _rounds(
                request, reply, weight if not examples else 0.0, pick(request.need, reply, rng), rng, examples
            )
    return paths


def draft_paths(request: Request, rng: Random) -> list[Path]:
    """Drafts alone and one revision: short trees to learn to speak from before anything is compared."""
    paths: list[Path] = []
    for index in range(3):
        reply = draft(request.need, rng)
        paths.append((*_says(draft_turns(request.prompt)), said(reply, request.need, 1.0)))
        if index == 0:
            paths += _rounds(request, reply, 1.0, pick(request.need, reply, rng), rng, ())
    return paths


def spoilt(need: Need, rng: Random) -> Reply:
    """A reply of any quality, sometimes one that a principle has already been through."""
    reply = any_reply(need, rng)
    return revised(reply, need, (any_meaning(rng, need),), rng) if rng.random() < 0.4 else reply


def pick(need: Need, reply: Reply, rng: Random) -> Ask:
    """A principle for this reply: mostly one that can be broken here, sometimes any other, sometimes none."""
    kind = rng.random()
    if kind < 0.09:
        return placebo(rng)
    for _ in range(8):
        meaning = any_meaning(rng, need)
        if kind < 0.55 and revised(reply, need, (meaning,), rng) is reply:
            continue
        if kind < 0.8 and not applies(need, meaning.axis):
            continue
        return ask_about(meaning, rng)
    return ask_about(any_meaning(rng, need), rng)


def _rounds(
    request: Request, reply: Reply, weight: float, ask: Ask, rng: Random, examples: Sequence[Example]
) -> list[Path]:
    """Critique, then the revision it leads to; sometimes the revision without a critique."""
    need = request.need
    found = critique(reply, need, ask.meanings, rng)
    better = text_of(revised(reply, need, ask.meanings, rng))
    head = review(request, reply, ask, weight, examples)
    critic = answering(Say("assistant", found, 1.0, FIRST), ask.meanings, (reply,), need)
    again = asked(Say("user", ask_revise(ask.principle)), ask, "revise")
    paths: list[Path] = [(*head, critic)]
    if found != NO_CHANGE or rng.random() < 0.25:
        paths.append((*head, critic, again, Say("assistant", better, 1.0)))
    if rng.random() < 0.12:
        paths.append((*head[:-1], again, answering(Say("assistant", better, 1.0), ask.meanings, (reply,), need)))
    return paths


def review(
    request: Request, reply: Reply, ask: Ask, weight: float = 0.0, examples: Sequence[Example] = ()
) -> tuple[Say, ...]:
    """The turns that ask for a critique of a reply; `weight` is the reply's own."""
    turns = critique_turns(request.prompt, Turn("assistant", text_of(reply)), ask.principle, examples)
    question = asked(Say(turns[-1].role, turns[-1].content), ask, "critique")
    return (*_says(turns[:-2]), said(reply, request.need, weight), question)


def few_shots(requests: Sequence[Request], rng: Random) -> tuple[Example, ...]:
    """A round for each request, as a constitution would give it."""
    found: list[Example] = []
    for request in requests:
        question, *more = request.messages
        if more:
            continue
        reply = draft(request.need, rng)
        ask = pick(request.need, reply, rng)
        fault = critique(reply, request.need, ask.meanings, rng)
        better = None if fault == NO_CHANGE else text_of(revised(reply, request.need, ask.meanings, rng))
        found.append(
            Example(
                prompt=question.content,
                reply=text_of(reply),
                critique_request=ask.critique,
                critique=fault,
                revise_request=ask.revise if better else "",
                revision=better,
            )
        )
    return tuple(found)


def _says(turns: Sequence[Turn]) -> tuple[Say, ...]:
    return tuple(Say(turn.role, turn.content) for turn in turns)
