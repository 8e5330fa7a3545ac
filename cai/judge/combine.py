"""From many verdicts on one pair to one probability: over orders, then principles, then judges.

A judge's word under a principle counts only if every order it was asked in was read: half of a swapped pair would bring
its position bias in unopposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cai.config.label import Inconsistent, Panel
from cai.records import Verdict

_NEVER, _ALWAYS = 1e-4, 1.0 - 1e-4
"""Log-odds are taken of probabilities moved into this range, so that one judge's 0 or 1 cannot outvote all others."""


def log_odds(p: float) -> float:
    """ln(p / (1 - p)) with p moved into [0.0001, 0.9999]."""
    p = min(max(p, _NEVER), _ALWAYS)
    return math.log(p / (1.0 - p))


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def over_orders(votes: Sequence[Verdict], inconsistent: Inconsistent = "average") -> float | None:
    """The mean over the orders of one judge and principle; None where any of them is missing.

    With `inconsistent` "tie", orders that name different replies come to 0.5.
    """
    ps = [vote.p_a for vote in votes]
    known = [p for p in ps if p is not None]
    if not known or len(known) < len(ps):
        return None
    if inconsistent == "tie" and flips(votes):
        return 0.5
    return sum(known) / len(known)


def flips(votes: Sequence[Verdict]) -> bool:
    """Whether two orders of the same judge and principle name different replies."""
    signs = {vote.p_a > 0.5 for vote in votes if vote.p_a is not None and vote.p_a != 0.5}
    return len(signs) == 2


def by_judge_and_principle(votes: Sequence[Verdict]) -> dict[tuple[str, str], list[Verdict]]:
    """The votes grouped by who said them under which principle, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for vote in votes:
        groups.setdefault((vote.judge, vote.principle), []).append(vote)
    return groups


def per_judge(
    votes: Sequence[Verdict], importance: Mapping[str, float], inconsistent: Inconsistent = "average"
) -> dict[str, float]:
    """Each judge's probability: the mean over its principles weighted by importance; silent judges are left out."""
    sums: dict[str, tuple[float, float]] = {}
    for (judge, principle), group in by_judge_and_principle(votes).items():
        p = over_orders(group, inconsistent)
        if p is not None:
            weight = importance.get(principle, 1.0)
            total, weights = sums.get(judge, (0.0, 0.0))
            sums[judge] = (total + weight * p, weights + weight)
    return {judge: total / weights for judge, (total, weights) in sums.items()}


def over_judges(ps: Mapping[str, float], panel: Panel, weights: Mapping[str, float] | None = None) -> float | None:
    """One probability from one per judge; None where no judge spoke.

    `mean`: the mean of the log-odds. `majority`: the share of judges for a, a judge at 0.5 being half for each.
    `weighted`: log-odds times the `weights` learnt from people (`weights.learn_weights`).
    """
    if not ps:
        return None
    if panel == "majority":
        return sum(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in ps.values()) / len(ps)
    if panel == "weighted":
        if weights is None:
            raise ValueError("weighted judges need learnt weights")
        return sigmoid(sum(weights.get(judge, 0.0) * log_odds(p) for judge, p in ps.items()))
    if len(ps) == 1:
        return next(iter(ps.values()))
    return sigmoid(sum(log_odds(p) for p in ps.values()) / len(ps))


def combine(
    votes: Sequence[Verdict],
    importance: Mapping[str, float],
    *,
    panel: Panel = "mean",
    weights: Mapping[str, float] | None = None,
    inconsistent: Inconsistent = "average",
) -> float | None:
    """The probability that reply a is better, from all votes on the pair."""
    return over_judges(per_judge(votes, importance, inconsistent), panel, weights)
