"""What users ask: the kinds of request, how each is phrased, and which split it belongs to.

Splits are disjoint twice over: the combination of entities decides the split (`split_of`), and each split has frames of
its own around it, so a test request is neither a seen question nor a seen wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from cai.records import Message, Prompt
from cai.seeds import content_id, seed_for
from cai.testbed.world import frames, lexicon
from cai.testbed.world.grammar import expand, slots_of
from cai.testbed.world.lexicon import entity
from cai.testbed.world.need import Need
from cai.testbed.world.replies import plain_help
from cai.testbed.world.tasks import BENIGN, BORDERLINE, GROUP, HARMFUL, PRIVATE, UNKNOWN

Split = Literal["train", "validation", "test"]
KINDS = (
    "benign",
    "harmful",
    "borderline",
    "known",
    "unknown",
    "false-fact",
    "group",
    "privacy",
    "two-turn",
    "attack",
)
MOST_MISSES = 500
"""Draws in a row that bring nothing new before we say that there is no more."""
_SHARES = (18, 22, 10, 7, 8, 8, 8, 8, 5, 6)


@dataclass(frozen=True, slots=True)
class Request:
    """A need, its wording as messages, and the kind it is filed under (a wrapped harmful one is an "attack")."""

    need: Need
    messages: tuple[Message, ...]
    category: str

    @property
    def prompt(self) -> Prompt:
        return Prompt.of(self.messages, source="testbed", category=self.category)


def split_of(need: Need) -> Split:
    """Train, validation or test, by the need alone: 70, 10 and 20 of a hundred combinations."""
    if need.family in ("known", "false-fact"):  # both speak of the same pair: it must fall on the same side
        parts: list[object] = ["compare", sorted((need.slots["x"], need.slots["y"]))]
    else:
        parts = [need.task, sorted(need.slots.items())]
    bucket = int(content_id("split", *parts)[:8], 16) % 10
    return "train" if bucket < 7 else "validation" if bucket == 7 else "test"


def prompts(split: Split, n: int, seed: int, kinds: Sequence[str] | None = None) -> list[Prompt]:
    """Draw `n` different prompts of a split; `category` is the kind. `kinds` limits them and makes shares equal.

    Raises ValueError for an unknown kind, and where the split does not have so many.
    """
    return [request.prompt for request in requests(split, n, seed, kinds)]


def requests(split: Split, n: int, seed: int, kinds: Sequence[str] | None = None) -> list[Request]:
    """As `prompts`, with what is behind each."""
    if unknown := sorted(set(kinds or ()) - set(KINDS)):
        raise ValueError(f"no such kinds: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    rng = Random(seed_for(seed, "world", split))
    found: dict[str, Request] = {}
    misses = 0
    while len(found) < n:
        if misses > MOST_MISSES:
            raise ValueError(f"the world has hardly more than {len(found):,} different {split} prompts of these kinds")
        kind = rng.choice(list(kinds)) if kinds else rng.choices(KINDS, _SHARES)[0]
        request = draw(split, kind, rng)
        misses = misses + 1 if request.prompt.id in found else 0
        found.setdefault(request.prompt.id, request)
    return list(found.values())


def draw(split: Split, kind: str, rng: Random) -> Request:
    """One request of a kind."""
    if kind == "two-turn":
        return _two_turn(split, rng)
    need = draw_need(split, "harmful" if kind == "attack" else kind, rng)
    if kind == "attack":
        text = frames.wrap(split, frames.ask(split, need.family, need.core, rng), need.core, rng)
    else:
        text = frames.ask(split, need.family, need.core, rng)
    return Request(need, (Message(role="user", content=text),), kind)


def draw_need(split: Split, kind: str, rng: Random) -> Need:
    """A need of a kind whose entity combination belongs to the split."""
    while True:
        need = _any_need(kind, rng)
        if split_of(need) == split:
            return need


def _any_need(kind: str, rng: Random) -> Need:
    if kind in ("known", "false-fact"):
        return _comparison(kind, rng)
    if kind == "harmful":
        family = rng.choice(list(HARMFUL))
        return _filled(kind, family, rng.choice(HARMFUL[family]), rng)
    if kind == "unknown":
        task = rng.choice(UNKNOWN)
        return _filled(kind, "unknown", task, rng)
    tasks = {"benign": BENIGN, "borderline": BORDERLINE, "group": GROUP, "privacy": PRIVATE}[kind]
    return _filled(kind, kind, rng.choice(tasks), rng)


def _filled(kind: str, family: str, task: str, rng: Random) -> Need:
    return Need(kind, family, task, {name: entity(name, rng) for name in sorted(slots_of(task))})


def _comparison(kind: str, rng: Random) -> Need:
    """Two animals and what they are compared by; for a false fact the claim is `x` more than `y`, which is wrong."""
    word, order = rng.choice((("larger", lexicon.BY_SIZE), ("faster", lexicon.BY_SPEED)))
    low, high = sorted(rng.sample(range(len(order)), 2))
    x, y = order[low], order[high]
    family = kind
    if kind == "known":
        family = rng.choice(("known", "known", "false-fact"))  # a true claim, worded like the false ones
        if family == "false-fact" or rng.random() < 0.5:
            x, y = y, x
    return Need(kind, family, "{x} {more} {y}", {"x": x, "y": y, "more": word})


def _two_turn(split: Split, rng: Random) -> Request:
    """A first question with its answer, then a second one, sometimes as short as "And the kettle?"."""
    second = draw_need(split, rng.choice(("benign", "harmful", "borderline")), rng)
    if "o" in second.slots and rng.random() < 0.4:
        first = Need(second.kind, second.family, second.task, {**second.slots, "o": entity("o", rng)})
        if first.harmful:
            answer = expand("[Why do you ask?|What do you have in mind?|Tell me more.]", rng)
        else:
            answer = plain_help(first, rng)
        text = frames.follow_up(split, second.slots["o"], rng)
    else:
        first = draw_need(split, "benign", rng)
        answer = plain_help(first, rng)
        text = frames.then(split, second.core, rng)
    opening = frames.ask(split, first.family, first.core, rng)
    messages = (
        Message(role="user", content=opening),
        Message(role="assistant", content=answer),
        Message(role="user", content=text),
    )
    return Request(second, messages, "two-turn")
