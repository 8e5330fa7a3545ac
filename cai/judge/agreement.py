"""Do judges, or principles, say the same? Krippendorff's alpha over all of them and Cohen's kappa for each two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

from cai.judge.combine import by_judge_and_principle, over_orders
from cai.measures.intervals import cohen_kappa
from cai.records import Comparison, Record

Raters = Mapping[str, Mapping[str, float]]
"""Rater, then item, then the probability that a is better; an item the rater did not judge is absent."""

LEAST_OVERLAP, CONFLICT = 20, 0.5


class Two(Record):
    """Two raters on the `n` items both judged."""

    x: str
    y: str
    n: int
    kappa: float | None
    """None where both name one and the same reply everywhere."""
    disagreement: float
    """Share of the items where they name different replies."""

    @property
    def conflict(self) -> bool:
        """Whether they contradict each other more often than not, on enough items."""
        return self.n >= LEAST_OVERLAP and self.disagreement > CONFLICT


class Agreement(Record):
    """`alpha` is None below two raters, two different answers, or any item judged twice."""

    raters: tuple[str, ...]
    alpha: float | None
    pairs: tuple[Two, ...]

    @property
    def conflicts(self) -> tuple[Two, ...]:
        """The conflicting two, worst first."""
        return tuple(sorted((two for two in self.pairs if two.conflict), key=lambda two: -two.disagreement))


class Collected:
    """Gathers probabilities by judge and by principle from comparisons, up to a number of them."""

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self.judges: dict[str, dict[str, float]] = {}
        self.principles: dict[str, dict[str, float]] = {}

    def add(self, item: str, comparison: Comparison) -> None:
        """Take one comparison: a judge's item is the pair under a principle, a principle's the pair under a judge."""
        if self.count >= self.most:
            return
        self.count += 1
        for (judge, principle), group in by_judge_and_principle(comparison.votes).items():
            p = over_orders(group)
            if p is not None:
                self.judges.setdefault(judge, {})[f"{item} {principle}"] = p
                self.principles.setdefault(principle, {})[f"{item} {judge}"] = p


def choice(p: float) -> str:
    """The reply a probability names: "a", "b", or "tie" at exactly 0.5."""
    return "a" if p > 0.5 else "b" if p < 0.5 else "tie"


def agreement(raters: Raters) -> Agreement:
    """Nominal alpha over the replies named, and kappa and disagreement for each two raters with items in common."""
    found: list[Two] = []
    for x, y in combinations(sorted(raters), 2):
        shared = sorted(raters[x].keys() & raters[y].keys())
        if not shared:
            continue
        named_x, named_y = ([choice(raters[r][item]) for item in shared] for r in (x, y))
        kappa = cohen_kappa(named_x, named_y)
        apart = sum(p != q for p, q in zip(named_x, named_y, strict=True)) / len(shared)
        found.append(Two(x=x, y=y, n=len(shared), kappa=None if math.isnan(kappa) else kappa, disagreement=apart))
    return Agreement(raters=tuple(sorted(raters)), alpha=_alpha(raters), pairs=tuple(found))


def _alpha(raters: Raters) -> float | None:
    """Krippendorff's nominal alpha."""
    items = sorted({item for votes in raters.values() for item in votes})
    table = [[choice(raters[r][i]) if i in raters[r] else None for i in items] for r in sorted(raters)]
    twice = [i for i in range(len(items)) if sum(row[i] is not None for row in table) > 1]
    if len({row[i] for row in table for i in twice} - {None}) < 2:
        return None
    import krippendorff
    import numpy as np

    code = {"a": 0.0, "b": 1.0, "tie": 2.0}
    data_RN = np.array([[code[name] if name else np.nan for name in row] for row in table])
    return float(krippendorff.alpha(data_RN, level_of_measurement="nominal"))
