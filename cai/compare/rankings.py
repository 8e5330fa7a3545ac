"""Standings before a judge: Bradley-Terry strengths, and each side's score under single questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from cai.compare.scoring import Finals, Hearing, score_between
from cai.compare.sides import clusters_of
from cai.measures.contrast import finite
from cai.measures.intervals import mean_interval
from cai.records import Label, Record
from cai.seeds import seed_for

STRENGTH_PENALTY = 0.1


class Strength(Record):
    """Bradley-Terry log-strength before one judge, mean 0, regularised; with three contestants or more."""

    judge: str
    side: str
    value: float
    low: float
    high: float


class Standing(Record):
    """How one side fares under one question of an independent judge: its mean score against all other contestants.

    A win is 1, a tie or an equal reply one half, so one half is the middle.
    """

    judge: str
    principle: str
    side: str
    value: float
    low: float | None
    high: float | None
    n: int


def strengths(hearing: Hearing, finals: Finals, seed: int) -> list[Strength]:
    """Bradley-Terry from three contestants up; the interval from 200 resamples of questions."""
    names = list(finals)
    if len(names) < 3:
        return []
    import numpy as np

    by_question: dict[str, list[tuple[int, int]]] = {}
    for label, question in zip(hearing.labels, clusters_of([one.prompt for one in hearing.labels]), strict=True):
        by_question.setdefault(question, []).extend(_games(label, names, finals))
    games = [won for won in by_question.values() if won]
    if not games:
        return []
    rng = np.random.default_rng(seed_for(seed, "strengths", hearing.judge))
    draws = [_fit([games[i] for i in rng.integers(0, len(games), len(games))], len(names)) for _ in range(200)]
    value_K = _fit(games, len(names))
    low_K, high_K = np.percentile(np.asarray(draws), [2.5, 97.5], axis=0)
    return [
        Strength(judge=hearing.judge, side=name, value=float(value_K[k]), low=float(low_K[k]), high=float(high_K[k]))
        for k, name in enumerate(names)
    ]


def standings(hearing: Hearing, finals: Finals, seed: int) -> list[Standing]:
    """Every side under every question that was asked; resampled by question."""
    asked = {vote.principle: None for label in hearing.labels for one in label.comparisons for vote in one.votes}
    found: list[Standing] = []
    for principle in asked:
        for side in finals:
            scores = [
                (s, label.prompt)
                for label in hearing.labels
                if (s := _score_of(label, side, principle, finals)) is not None
            ]
            if scores:
                mean = mean_interval([s for s, _ in scores], clusters_of([p for _, p in scores]), seed=seed)
                found.append(
                    Standing(judge=hearing.judge, principle=principle, side=side, value=mean.value,
                             low=finite(mean.low), high=finite(mean.high), n=mean.n)
                )  # fmt: skip
    return found


def _score_of(label: Label, side: str, principle: str, finals: Finals) -> float | None:
    """One prompt's mean score of a side against the others; None where none was read."""
    id = label.prompt.id
    if id not in finals[side]:
        return None
    own, scores = finals[side][id], list[float]()
    for name, replies in finals.items():
        if name != side and id in replies:
            score = 0.5 if replies[id] == own else score_between(label, replies[id], own, principle)
            scores += [] if score is None else [score]
    return sum(scores) / len(scores) if scores else None


def _games(label: Label, names: Sequence[str], finals: Finals) -> list[tuple[int, int]]:
    """Winner and loser of every decided pair of contestants on one prompt."""
    id, found = label.prompt.id, list[tuple[int, int]]()
    for x, y in combinations(range(len(names)), 2):
        if id in finals[names[x]] and id in finals[names[y]]:
            score = score_between(label, finals[names[x]][id], finals[names[y]][id])
            if score in (0.0, 1.0):
                found.append((y, x) if score == 1.0 else (x, y))
    return found


def _fit(games: Iterable[Sequence[tuple[int, int]]], contestants: int) -> list[float]:
    import choix

    return [float(s) for s in choix.ilsr_pairwise(contestants, [g for one in games for g in one], STRENGTH_PENALTY)]
