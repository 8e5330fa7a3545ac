"""Between rankings, pairs and strengths, for prompts with more than two replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from cai.records import Comparison

PRIOR_GAMES = 0.02
"""Drawn games added to each pair of replies: keeps the strength of a reply that won every comparison finite."""


def pairs_of_ranking(ranks: Sequence[int]) -> tuple[tuple[int, int, float], ...]:
    """(i, j, p that i is better) for all i < j, from places with 0 the best: 1, 0 or, at equal places, 0.5."""
    return tuple(
        (i, j, 1.0 if ranks[i] < ranks[j] else 0.0 if ranks[i] > ranks[j] else 0.5)
        for i, j in combinations(range(len(ranks)), 2)
    )


def pairs_of_choice(shares: Sequence[float]) -> tuple[tuple[int, int, float], ...]:
    """The same from the probabilities of being best of all: p_i / (p_i + p_j), Luce's choice rule."""
    return tuple(
        (i, j, 0.5 if shares[i] + shares[j] == 0.0 else shares[i] / (shares[i] + shares[j]))
        for i, j in combinations(range(len(shares)), 2)
    )


def bradley_terry(K: int, comparisons: Sequence[Comparison]) -> tuple[float, ...] | None:
    """Log-strengths of K replies, mean 0, by choix from soft comparisons; None below three replies or without a result.

    A comparison with p_a adds p_a wins to a and 1 - p_a to b.
    """
    read = [c for c in comparisons if c.p_a is not None]
    if K < 3 or not read:
        return None
    import choix
    import numpy as np

    wins_KK = np.zeros((K, K))
    for c in read:
        p = c.p_a if c.p_a is not None else 0.5
        wins_KK[c.a, c.b] += p
        wins_KK[c.b, c.a] += 1.0 - p
    prior_KK = PRIOR_GAMES / 2 * (1.0 - np.eye(K))
    strengths_K = choix.ilsr_pairwise_dense(wins_KK + prior_KK, max_iter=1000)
    return tuple(float(x) for x in strengths_K - strengths_K.mean())


def best_and_worst(K: int, comparisons: Sequence[Comparison]) -> tuple[int, int] | None:
    """The strongest and the weakest of K replies by wins minus losses, the earlier one where equal; None unread."""
    net = [0.0] * K
    played = [0] * K
    for c in comparisons:
        if c.p_a is not None:
            net[c.a] += c.p_a - 0.5
            net[c.b] -= c.p_a - 0.5
            played[c.a] += 1
            played[c.b] += 1
    if not any(played):
        return None
    order = sorted((i for i in range(K) if played[i]), key=lambda i: (-net[i] / played[i], i))
    return order[0], order[-1]


def entropy(p: float) -> float:
    """Entropy of a two-way label in bits."""
    return -sum(x * math.log2(x) for x in (p, 1.0 - p) if x > 0.0)
