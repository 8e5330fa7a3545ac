"""Modes that look at replies as a whole set: a number for each (`score`), or all of them at once (`list`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random

from cai.constitution.model import Principle
from cai.judge.modes import list, score
from cai.judge.panel import SECOND_TEMPERATURE, TRIES, Asking, Judge
from cai.judge.prompts import fence_for
from cai.judge.ranking import pairs_of_choice, pairs_of_ranking
from cai.records import Prompt, Usage, Verdict
from cai.seeds import content_id, seed_for


@dataclass(frozen=True, slots=True)
class Asked:
    """Verdicts by pair (i, j) of reply positions with i < j, the cost, and direct rewards where the mode gives them."""

    votes: dict[tuple[int, int], tuple[Verdict, ...]]
    usage: Usage
    rewards: tuple[tuple[float | None, ...], ...] | None = None
    """Mode score: by reply, one per judge and principle in that nesting."""


async def ask_scores(
    judges: Sequence[Judge], principles: Sequence[Principle], prompt: Prompt, replies: Sequence[str], asking: Asking
) -> Asked:
    """Mode score: each reply gets a number from every judge under every principle; pairs follow from the numbers."""
    fence = fence_for(asking.seed, prompt, replies)
    cells = tuple(product(judges, principles))
    asked = (score.answer(j.engine, prompt, r, p.judge, fence) for j, p in cells for r in replies)
    flat = await asyncio.gather(*asked)
    rows = [flat[i : i + len(replies)] for i in range(0, len(flat), len(replies))]
    votes: dict[tuple[int, int], tuple[Verdict, ...]] = {
        (i, j): tuple(
            _score_verdict(judge, principle, row[i], row[j])
            for (judge, principle), row in zip(cells, rows, strict=True)
        )
        for i, j in combinations(range(len(replies)), 2)
    }
    numbers = tuple(tuple(row[i].reward for row in rows) for i in range(len(replies)))
    return Asked(votes, sum((s.usage for s in flat), Usage()), numbers)


def _score_verdict(judge: Judge, principle: Principle, a: score.Score, b: score.Score) -> Verdict:
    p = None if a.shares is None or b.shares is None else score.p_above(a.shares, b.shares)
    raw, mass = f"{a.raw}\n{b.raw}", min(a.mass, b.mass)
    return Verdict(principle=principle.id, judge=judge.name, mode="score", order="ab", p_a=p, mass=mass, raw=raw)


async def ask_lists(
    judges: Sequence[Judge], principles: Sequence[Principle], prompt: Prompt, replies: Sequence[str], asking: Asking
) -> Asked:
    """Mode list: all replies at once in a shuffled order and, with both orders, in its reverse."""
    fence = fence_for(asking.seed, prompt, replies)
    shown = Random(seed_for(asking.seed, "shuffle", prompt.id, content_id(*replies))).sample(
        range(len(replies)), len(replies)
    )
    shuffles = (shown, shown[::-1]) if asking.orders == "both" else (shown,)

    async def one(judge: Judge, principle: Principle, order: Sequence[int]) -> tuple[_Places, Usage]:
        listed = [replies[i] for i in order]
        if asking.best_of:
            choice = await list.best(judge.engine, prompt, listed, principle.judge, fence)
            known = None if choice.shares is None else pairs_of_choice(choice.shares)
            return _Places(judge, principle, order, known, choice.raw, choice.mass), choice.usage
        usage, ranking = Usage(), None
        for attempt in range(TRIES):
            seed = seed_for(asking.seed, "rank", prompt.id, principle.id, judge.name, *order, attempt)
            temperature = SECOND_TEMPERATURE if attempt else 0.0
            ranking = await list.rank(
                judge.engine, prompt, listed, principle.judge, fence, seed=seed, temperature=temperature
            )
            usage += ranking.usage
            if ranking.ranks is not None:
                break
        assert ranking is not None
        known = None if ranking.ranks is None else pairs_of_ranking(ranking.ranks)
        return _Places(judge, principle, order, known, ranking.raw, None), usage

    got = await asyncio.gather(*(one(*cell) for cell in product(judges, principles, shuffles)))
    pairs = combinations(range(len(replies)), 2)
    votes = {pair: tuple(places.verdict(*pair) for places, _ in got) for pair in pairs}
    return Asked(votes, sum((usage for _, usage in got), Usage()))


@dataclass(frozen=True, slots=True)
class _Places:
    """One answer about a whole list: `known` are the pairs of places shown, None where it was unread."""

    judge: Judge
    principle: Principle
    order: Sequence[int]
    known: tuple[tuple[int, int, float], ...] | None
    raw: str
    mass: float | None

    def verdict(self, a: int, b: int) -> Verdict:
        """What it says about replies a and b, by their own positions."""
        place_a, place_b = self.order.index(a), self.order.index(b)
        p = None
        if self.known is not None:
            first = {(i, j): p for i, j, p in self.known}[min(place_a, place_b), max(place_a, place_b)]
            p = first if place_a < place_b else 1.0 - first
        return Verdict(
            principle=self.principle.id,
            judge=self.judge.name,
            mode="list",
            order="ab" if place_a < place_b else "ba",
            p_a=p,
            mass=self.mass,
            raw=self.raw,
            tie=self.known is not None and p == 0.5,
        )
