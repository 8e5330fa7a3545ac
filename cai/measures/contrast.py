"""Paired differences between two sides of anything, with intervals, p-values and what could have been seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from cai.measures.intervals import Difference, Estimate, holm, mcnemar, mean_interval, p_value, paired_difference
from cai.records import Record

Unit = Literal["share", "words", "tokens", "calls"]
Better = Literal["higher", "lower", "neither"]
LEVEL = 0.05


class Measure(Protocol):
    """What is contrasted. A `primary` one is named beforehand; the others are corrected for their number."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def better(self) -> Better: ...
    @property
    def primary(self) -> bool: ...


class Contrast(Record):
    """Mean of `b` minus mean of `a` over the same prompts."""

    outcome: str
    unit: Unit
    better: Better
    primary: bool
    a: str
    b: str
    a_mean: float
    b_mean: float
    difference: float
    low: float | None
    high: float | None
    """95 % interval; None where there are fewer than two questions."""
    n: int
    clusters: int
    detectable: float | None
    """Smallest true difference that such a sample shows in four of five repetitions."""
    only_a: int | None
    only_b: int | None
    """For shares of yes and no: prompts where only one side has it."""
    mcnemar: float | None
    p: float
    p_holm: float
    """`p` corrected for the number of outcomes that are not primary; a primary one is its own family."""

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval excludes zero, and the corrected p-value agrees."""
        apart = self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)
        return apart and self.p_holm < LEVEL

    @property
    def improves(self) -> bool | None:
        """Whether `b` is better where a difference is shown; None where it is not, or no direction is better."""
        if not self.shown or self.better == "neither":
            return None
        return (self.difference > 0) == (self.better == "higher")


def contrast(
    outcome: Measure, a: str, b: str, xs: Sequence[float], ys: Sequence[float], clusters: Sequence[str], seed: int
) -> Contrast:
    """One paired difference, not yet corrected for others."""
    found = paired_difference(xs, ys, clusters, seed=seed)
    yes_no = outcome.unit == "share" and {*xs, *ys} <= {0.0, 1.0}
    only_a = sum(x > y for x, y in zip(xs, ys, strict=True)) if yes_no else None
    only_b = sum(y > x for x, y in zip(xs, ys, strict=True)) if yes_no else None
    low, high, detectable = _bounds(found, yes_no)
    p = p_value(found)
    return Contrast(
        outcome=outcome.name,
        unit=outcome.unit,
        better=outcome.better,
        primary=outcome.primary,
        a=a,
        b=b,
        a_mean=math.fsum(xs) / len(xs),
        b_mean=math.fsum(ys) / len(ys),
        difference=found.value,
        low=low,
        high=high,
        n=found.n,
        clusters=found.clusters,
        detectable=detectable,
        only_a=only_a,
        only_b=only_b,
        mcnemar=mcnemar(only_b, only_a) if only_a is not None and only_b is not None else None,
        p=p,
        p_holm=p,
    )


def corrected(family: Sequence[Contrast]) -> list[Contrast]:
    """Holm's correction over the outcomes that are not primary; primary ones keep their p-value."""
    rest = [c for c in family if not c.primary]
    ps = dict(zip((id(c) for c in rest), holm([c.p for c in rest]), strict=True))
    return [c if c.primary else c.model_copy(update={"p_holm": ps[id(c)]}) for c in family]


def _bounds(found: Difference, yes_no: bool) -> tuple[float | None, float | None, float | None]:
    """Interval and detectable difference. Where all yes-no pairs are alike the variance is 0 and says nothing.

    Pairs that all agree leave room for a share of 1 - 0.025^(1/n) that do not; where all differ, such a share may
    differ the other way, which counts twice.
    """
    if found.clusters < 2:
        return None, None, None
    if yes_no and found.error == 0.0 and found.value in (-1.0, 0.0, 1.0):
        room = rare(found.clusters) * (1.0 if found.value == 0.0 else 2.0)
        return max(found.value - room, -1.0), min(found.value + room, 1.0), room
    low, high = (max(found.low, -1.0), min(found.high, 1.0)) if yes_no else (found.low, found.high)
    return finite(low), finite(high), finite(found.detectable)


def mean_of(values: Sequence[float], clusters: Sequence[str], seed: int, *, least: float = 0.0) -> Estimate:
    """Mean with its interval. Values that are all 0 (or all 1) leave room for rare others: 1 - 0.025^(1/n)."""
    found = mean_interval(values, clusters, seed=seed)
    room = rare(found.clusters)
    if found.clusters < 2 or not ({*values} == {0.0} or {*values} == {1.0}):
        return found
    low, high = (found.value - room, found.value) if found.value else (max(least, -room), room)
    return replace(found, low=low, high=high)


def rare(clusters: int) -> float:
    """Upper 97.5 % bound of a share of which none was seen in so many questions: 1 - 0.025^(1/n)."""
    return 1.0 - 0.025 ** (1.0 / clusters)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def number(value: float, unit: str, *, bare: bool = False) -> str:
    """A difference in its unit: shares in points of a hundred."""
    text = f"{100 * value:.1f}" if unit == "share" else f"{value:,.1f}"
    return text if bare else f"{text} {'points' if unit == 'share' else unit}"
