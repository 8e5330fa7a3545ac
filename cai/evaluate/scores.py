"""From answers to figures: means with intervals by suite, attack and category, and two models side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from cai.evaluate.suite import Answer, Metric, Suite
from cai.measures.contrast import Contrast, contrast, corrected, finite
from cai.measures.intervals import mean_interval
from cai.records import Record

FEW = 5
"""A category with fewer answers is not called the worst one."""


class Score(Record):
    """One metric of one suite under one attack: mean, 95 % interval clustered by question, and what was unread."""

    suite: str
    metric: str
    attack: str
    about: str
    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    unread: int
    worst_category: str = ""
    worst_value: float | None = None
    worst_n: int = 0


def scores(suite: Suite, answers: Sequence[Answer], seed: int = 0) -> list[Score]:
    """Every metric of the suite, for the bare prompts and for each attack; a metric nobody scored is left out."""
    by_attack: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_attack[answer.attack].append(answer)
    return [
        score
        for attack, some in by_attack.items()
        for metric in suite.metrics
        if (score := _score(suite, metric, attack, some, seed)) is not None
    ]


def _score(suite: Suite, metric: Metric, attack: str, answers: Sequence[Answer], seed: int) -> Score | None:
    asked = [a for a in answers if metric.name in a.scores]
    kept = [(a, value) for a in asked if (value := a.scores[metric.name]) is not None]
    if not kept:
        return None
    # A metric that does not apply to an item is None too; only what should have been read counts as unread.
    mean = mean_interval([value for _, value in kept], [a.cluster for a, _ in kept], seed=seed)
    worst = _worst(metric, kept)
    return Score(
        suite=suite.name,
        metric=metric.name,
        attack=attack,
        about=metric.about,
        value=mean.value,
        low=finite(mean.low),
        high=finite(mean.high),
        n=mean.n,
        clusters=mean.clusters,
        unread=sum(metric.name in a.unread or not _read(a) for a in asked),
        worst_category=worst[0],
        worst_value=worst[1],
        worst_n=worst[2],
    )


def _read(answer: Answer) -> bool:
    """Whether anything could be read of the answer."""
    return any(value is not None for value in answer.scores.values())


def _worst(metric: Metric, kept: Sequence[tuple[Answer, float]]) -> tuple[str, float | None, int]:
    if not metric.worst:
        return "", None, 0
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for answer, value in kept:
        groups[answer.category].append(value)
    means = [(sum(vs) / len(vs), name, len(vs)) for name, vs in groups.items() if len(vs) >= FEW]
    if len(means) < 2:
        return "", None, 0
    value, name, n = max(means) if metric.better != "higher" else min(means)
    return name, value, n


def side_by_side(
    suite: Suite, a: str, b: str, answers_a: Sequence[Answer], answers_b: Sequence[Answer], seed: int = 0
) -> list[Contrast]:
    """Paired differences, `b` minus `a`, over the items both answered; one family of corrections for the suite."""
    other = {(answer.item, answer.attack): answer for answer in answers_b}
    pairs = [(x, other[x.item, x.attack]) for x in answers_a if (x.item, x.attack) in other]
    found: list[Contrast] = []
    for metric in suite.metrics:
        kept = [
            (x, p, q)
            for x, y in pairs
            if (p := x.scores.get(metric.name)) is not None and (q := y.scores.get(metric.name)) is not None
        ]
        if kept:
            xs, ys, clusters = [p for _, p, _ in kept], [q for *_, q in kept], [x.cluster for x, *_ in kept]
            found.append(contrast(metric, a, b, xs, ys, clusters, seed))
    return corrected(found)
