"""Do judges, or principles, say the same? Krippendorff's alpha over all of them and Cohen's kappa for each two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from cai.measures.intervals import cohen_kappa

Raters = Mapping[str, Mapping[str, float]]
"""Rater, then item, then the probability that a is better; an item the rater did not judge is absent."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """`alpha` and each `kappa` are None where there is too little in common to compute them."""

    alpha: float | None
    kappas: dict[tuple[str, str], float | None]
    overlap: dict[tuple[str, str], int]
    """Items judged by both."""
    disagreement: dict[tuple[str, str], float]
    """Share of the overlap where the two name different replies."""


def choice(p: float) -> str:
    """The reply a probability names: "a", "b", or "tie" at exactly 0.5."""
    return "a" if p > 0.5 else "b" if p < 0.5 else "tie"


def agreement(raters: Raters) -> Agreement:
    """Nominal alpha over the replies named, and kappa, overlap and disagreement for each two raters."""
    kappas: dict[tuple[str, str], float | None] = {}
    overlap: dict[tuple[str, str], int] = {}
    disagreement: dict[tuple[str, str], float] = {}
    for x, y in combinations(sorted(raters), 2):
        shared = sorted(raters[x].keys() & raters[y].keys())
        if not shared:
            continue
        named_x, named_y = ([choice(raters[r][item]) for item in shared] for r in (x, y))
        kappa = cohen_kappa(named_x, named_y)
        kappas[x, y] = None if math.isnan(kappa) else kappa
        overlap[x, y] = len(shared)
        disagreement[x, y] = sum(p != q for p, q in zip(named_x, named_y, strict=True)) / len(shared)
    return Agreement(_alpha(raters), kappas, overlap, disagreement)


def _alpha(raters: Raters) -> float | None:
    """Krippendorff's nominal alpha; None below two raters, two values, or any item judged twice."""
    items = sorted({item for votes in raters.values() for item in votes})
    names: list[str] = sorted(raters)
    table = [[choice(raters[r][i]) if i in raters[r] else None for i in items] for r in names]
    twice = [i for i in range(len(items)) if sum(row[i] is not None for row in table) > 1]
    if len({row[i] for row in table for i in twice} - {None}) < 2:
        return None
    import krippendorff
    import numpy as np

    code = {"a": 0.0, "b": 1.0, "tie": 2.0}
    data_RN = np.array([[code[v] if v else np.nan for v in row] for row in table])
    return float(krippendorff.alpha(data_RN, level_of_measurement="nominal"))


def conflicts(
    raters: Raters, *, least_overlap: int = 20, above: float = 0.5
) -> tuple[tuple[str, str, float, int], ...]:
    """Pairs of raters that name different replies more often than `above`, worst first, with their overlap."""
    found = agreement(raters)
    pairs: Sequence[tuple[str, str]] = [p for p, n in found.overlap.items() if n >= least_overlap]
    named = [
        (x, y, found.disagreement[x, y], found.overlap[x, y]) for x, y in pairs if found.disagreement[x, y] > above
    ]
    return tuple(sorted(named, key=lambda row: (-row[2], row[0], row[1])))
