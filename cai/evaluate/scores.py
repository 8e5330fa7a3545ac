"""From answers to figures: means with intervals by suite, attack and category, and two models side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from cai.evaluate.suite import Answer, Gap, Metric, Suite
from cai.measures.contrast import Contrast, contrast, corrected, finite, mean_of
from cai.measures.intervals import Estimate, mean_interval
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
    found: list[Score | None] = []
    for attack, some in by_attack.items():
        found += [_score(suite, metric, attack, some, seed) for metric in suite.metrics]
        found += [_gap(suite, gap, attack, some, seed) for gap in suite.gaps]
    return [score for score in found if score is not None]


def _score(suite: Suite, metric: Metric, attack: str, answers: Sequence[Answer], seed: int) -> Score | None:
    asked = [a for a in answers if metric.name in a.scores]
    kept = [(a, value) for a in asked if (value := a.scores[metric.name]) is not None]
    if not kept:
        return None
    # A metric that does not apply to an item is None too; only what should have been read counts as unread.
    mean = mean_of([value for _, value in kept], [a.cluster for a, _ in kept], seed, least=metric.least)
    category, value, n = _worst(metric, kept)
    unread = sum(metric.name in a.unread or not _read(a) for a in asked)
    score = _figure(suite, metric, attack, mean, unread)
    return score.model_copy(update={"worst_category": category, "worst_value": value, "worst_n": n})


def _gap(suite: Suite, gap: Gap, attack: str, answers: Sequence[Answer], seed: int) -> Score | None:
    by_question = _gaps(gap, answers)
    if not by_question:
        return None
    return _figure(suite, gap, attack, mean_interval(list(by_question.values()), seed=seed), 0)


def _figure(suite: Suite, measured: Metric | Gap, attack: str, mean: Estimate, unread: int) -> Score:
    return Score(
        suite=suite.name,
        metric=measured.name,
        attack=attack,
        about=measured.about,
        value=mean.value,
        low=finite(mean.low),
        high=finite(mean.high),
        n=mean.n,
        clusters=mean.clusters,
        unread=unread,
    )


def _gaps(gap: Gap, answers: Sequence[Answer]) -> dict[str, float]:
    """Each question's gap, where both metrics have a value for it."""
    sides: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in (gap.of, gap.less)}
    for answer in answers:
        for name, by_question in sides.items():
            if (value := answer.scores.get(name)) is not None:
                by_question[answer.cluster].append(value)
    of, less = sides[gap.of], sides[gap.less]
    return {q: sum(of[q]) / len(of[q]) - sum(less[q]) / len(less[q]) for q in of if q in less}


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
    """Paired differences, `b` minus `a`, over the items both answered, bare and under each attack.

    The suite is one family of corrections.
    """
    other = {(answer.item, answer.attack): answer for answer in answers_b}
    by_attack: defaultdict[str, list[tuple[Answer, Answer]]] = defaultdict(list)
    for answer in answers_a:
        if (answer.item, answer.attack) in other:
            by_attack[answer.attack].append((answer, other[answer.item, answer.attack]))
    found: list[Contrast] = []
    for attack, pairs in by_attack.items():
        for metric in suite.metrics:
            kept = [
                (x.cluster, p, q)
                for x, y in pairs
                if (p := x.scores.get(metric.name)) is not None and (q := y.scores.get(metric.name)) is not None
            ]
            if kept:
                named = replace(metric, name=f"{metric.name} [{attack}]") if attack else metric
                clusters, xs, ys = zip(*kept, strict=True)
                found.append(contrast(named, a, b, xs, ys, clusters, seed))
        found += [c for gap in suite.gaps if (c := _gap_between(gap, attack, a, b, pairs, seed)) is not None]
    return corrected(found)


def _gap_between(
    gap: Gap, attack: str, a: str, b: str, pairs: Sequence[tuple[Answer, Answer]], seed: int
) -> Contrast | None:
    xs, ys = (_gaps(gap, [pair[side] for pair in pairs]) for side in (0, 1))
    shared = [question for question in xs if question in ys]
    if not shared:
        return None
    metric = Metric(f"{gap.name} [{attack}]" if attack else gap.name, gap.better, gap.about)
    return contrast(metric, a, b, [xs[q] for q in shared], [ys[q] for q in shared], shared, seed)
