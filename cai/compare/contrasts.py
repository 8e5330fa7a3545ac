"""Paired differences between two sides, outcome by outcome, with intervals, p-values and what could have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from cai.compare.outcomes import Outcome
from cai.compare.sides import DRAFTS, Paired
from cai.measures.contrast import Contrast, contrast, corrected, finite, mean_of
from cai.measures.intervals import mean_interval
from cai.records import Record


class Level(Record):
    """One side's mean of an outcome; the interval is None below two questions."""

    side: str
    outcome: str
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Values:
    """Every outcome of every side in the order of the paired prompts."""

    paired: Paired
    outcomes: tuple[Outcome, ...]
    by_side: dict[str, dict[str, list[float | None]]]


def values_of(paired: Paired, outcomes: Sequence[Outcome]) -> Values:
    """Measure every chain once."""
    table: dict[str, dict[str, list[float | None]]] = {}
    for side in paired.sides:
        chains = paired.chains(side)
        table[side.name] = {outcome.name: [outcome.of(chain) for chain in chains] for outcome in outcomes}
    return Values(paired, tuple(outcomes), table)


def levels(values: Values, seed: int) -> list[Level]:
    """Each side's mean of each outcome that applies to at least one prompt."""
    found: list[Level] = []
    for outcome in values.outcomes:
        for side, columns in values.by_side.items():
            kept = [(v, c) for v, c in zip(columns[outcome.name], values.paired.clusters, strict=True) if v is not None]
            if kept:
                vs, clusters = [v for v, _ in kept], [c for _, c in kept]
                share = outcome.unit == "share"
                mean = mean_of(vs, clusters, seed) if share else mean_interval(vs, clusters, seed=seed)
                found.append(
                    Level(side=side, outcome=outcome.name, value=mean.value, low=finite(mean.low),
                          high=finite(mean.high), n=mean.n)
                )  # fmt: skip
    return found


def contrasts(values: Values, seed: int) -> list[Contrast]:
    """Every two sides on every outcome that applies to both."""
    found: list[Contrast] = []
    for a, b in combinations(values.by_side, 2):
        asked = [o for o in values.outcomes if o.replies or DRAFTS not in (a, b)]
        family = [c for outcome in asked if (c := _contrast(values, outcome, a, b, seed)) is not None]
        found += corrected(family)
    return found


def _contrast(values: Values, outcome: Outcome, a: str, b: str, seed: int) -> Contrast | None:
    xs, ys = values.by_side[a][outcome.name], values.by_side[b][outcome.name]
    kept = [
        (x, y, cluster)
        for x, y, cluster in zip(xs, ys, values.paired.clusters, strict=True)
        if x is not None and y is not None
    ]
    if not kept:
        return None
    return contrast(outcome, a, b, [x for x, _, _ in kept], [y for _, y, _ in kept], [c for *_, c in kept], seed)
