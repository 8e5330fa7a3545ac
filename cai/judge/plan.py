"""Which of a prompt's K replies meet: all pairs, a knock-out tournament, or enough to find the best and the worst.

`compare(a, b)` asks the judges about two positions and returns the comparison; an unread one lets the earlier reply go
on and is kept as unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations

from cai.config.label import Plan
from cai.records import Comparison

Compare = Callable[[int, int], Awaitable[Comparison]]


async def run_plan(plan: Plan, K: int, compare: Compare) -> tuple[Comparison, ...]:
    """The comparisons of the plan, in an order that does not depend on timing.

    `all`: K (K - 1) / 2. `tournament`: K - 1. `best-worst`: about 3 K / 2, the last of them
    the best reply against the worst.
    """
    if plan == "all" or K == 2:
        return tuple(await asyncio.gather(*(compare(i, j) for i, j in combinations(range(K), 2))))
    if plan == "tournament":
        _, played = await _knock_out(range(K), compare, up=True)
        return tuple(played)
    return await _best_and_worst(K, compare)


async def _best_and_worst(K: int, compare: Compare) -> tuple[Comparison, ...]:
    """A first round splits winners from losers; the winners play for best and the losers for worst."""
    first = await asyncio.gather(*(compare(i, i + 1) for i in range(0, K - 1, 2)))
    odd = [K - 1] if K % 2 else []
    winners = [_winner(c) for c in first] + odd
    losers = [_loser(c) for c in first] + odd
    (best, up), (worst, down) = await asyncio.gather(
        _knock_out(winners, compare, up=True), _knock_out(losers, compare, up=False)
    )
    played = {(c.a, c.b): c for c in (*first, *up, *down)}
    ends = (min(best, worst), max(best, worst))
    if best != worst:
        final = played.pop(ends, None) or await compare(*ends)
        played[ends] = final
    return tuple(played.values())


async def _knock_out(players: Sequence[int], compare: Compare, *, up: bool) -> tuple[int, list[Comparison]]:
    """The last one standing and the games played; with `up` False the loser goes on."""
    left, played = list(players), list[Comparison]()
    while len(left) > 1:
        games = await asyncio.gather(*(compare(*sorted(left[i : i + 2])) for i in range(0, len(left) - 1, 2)))
        played += games
        left = [_winner(c) if up else _loser(c) for c in games] + (left[-1:] if len(left) % 2 else [])
    return left[0], played


def _winner(c: Comparison) -> int:
    return c.a if c.p_a is None or c.p_a >= 0.5 else c.b


def _loser(c: Comparison) -> int:
    return c.b if _winner(c) == c.a else c.a
