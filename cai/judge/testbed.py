"""Pairs from the testbed, whose truth about every reply is known: the one a principle prefers, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from cai.constitution.model import Principle
from cai.judge.exam import Known, placed
from cai.seeds import seed_for
from cai.testbed.world import Meaning, Split, meaning_of
from cai.testbed.world.drafts import any_reply
from cai.testbed.world.edits import applies, degree
from cai.testbed.world.replies import text_of
from cai.testbed.world.requests import Request, requests

_TRIES = 40


def known_pairs(
    principles: Sequence[Principle], n: int, seed: int, *, split: Split = "test", kinds: Sequence[str] | None = None
) -> list[Known]:
    """`n` pairs of grammar replies that differ along the axis of a principle, each asked as often as it can be.

    A request is put under the principle asked least so far among those that replies to it can differ on. Principles
    the testbed does not know are left out. Raises ValueError where none is left.
    """
    able = [principle for principle in principles if meaning_of(principle.judge) is not None]
    if not able:
        raise ValueError("the testbed knows none of these principles")
    found: list[Known] = []
    asked: Counter[int] = Counter()
    for index, request in enumerate(requests(split, 8 * n, seed, kinds)):
        fitting = [at for at, principle in enumerate(able) if applies(request.need, _meaning(principle).axis)]
        if not fitting:
            continue
        least = min(fitting, key=lambda at: asked[at])
        pair = _differing(request, able[least], Random(seed_for(seed, "pair", index)))
        if pair is not None:
            asked[least] += 1
            found.append(placed(request.prompt, *pair, (able[least],), len(found)))
        if len(found) == n:
            break
    return found


def _differing(request: Request, principle: Principle, rng: Random) -> tuple[str, str] | None:
    """The better and the worse of two replies that differ on the principle's axis; None where none do."""
    meaning = _meaning(principle)
    for _ in range(_TRIES):
        first, second = any_reply(request.need, rng), any_reply(request.need, rng)
        x, y = (meaning.direction * degree(reply, request.need, meaning.axis) for reply in (first, second))
        a, b = text_of(first), text_of(second)
        if x != y and a != b:
            return (a, b) if x > y else (b, a)
    return None


def _meaning(principle: Principle) -> Meaning:
    meaning = meaning_of(principle.judge)
    assert meaning is not None, "only known principles are drawn"
    return meaning
