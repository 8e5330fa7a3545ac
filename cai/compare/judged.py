"""Who wins before which judge: each constitution's replies under each constitution's questions and a neutral panel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from cai.compare.principles import Rate, Two, overlaps, votes
from cai.compare.rankings import Standing, Strength, standings, strengths
from cai.compare.scoring import Finals, Hearing, preference, score_between
from cai.compare.sides import clusters_of
from cai.measures.contrast import rare
from cai.measures.intervals import Difference, p_value, paired_difference
from cai.records import Prompt, Record


class Match(Record):
    """Side `b` against side `a` before one judge: its win share over all prompts, equal replies and ties one half."""

    judge: str
    independent: bool
    """The judge's principles are none of the compared constitutions'."""
    a: str
    b: str
    wins: int
    losses: int
    ties: int
    """Both orders read, but they name different replies or neither."""
    equal: int
    """Prompts where both sides gave the same reply; nothing was asked."""
    unread: int
    win_share: float
    low: float | None
    high: float | None
    n: int
    detectable: float | None
    p: float
    length_controlled: float | None
    """Win share at equal length, by logistic regression of the preference on the difference in length."""

    @property
    def shown(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0.5 or self.high < 0.5)


class Bench(Record):
    """How far a judge can be trusted: its own habits, over all comparisons."""

    judge: str
    verdicts: int
    unread: Rate
    consistent: Rate
    """Comparisons whose two orders name the same reply, of those with both read and a preference."""
    first: Rate
    """Verdicts for the reply shown first; one half without position bias."""
    longer: Rate
    """Decided comparisons of different length won by the longer reply."""


class Judging(Record):
    """All matches, judges and overlaps of principles."""

    matches: tuple[Match, ...] = ()
    benches: tuple[Bench, ...] = ()
    strengths: tuple[Strength, ...] = ()
    standings: tuple[Standing, ...] = ()
    overlaps: tuple[Two, ...] = ()


def judge_all(hearings: Sequence[Hearing], finals: Finals, seed: int) -> Judging:
    """Every hearing on every two contestants, the draft among them."""
    matches = [
        found
        for hearing in hearings
        for a, b in combinations(finals, 2)
        if (found := _match(hearing, a, b, finals, seed)) is not None
    ]
    return Judging(
        matches=tuple(matches),
        benches=tuple(_bench(hearing) for hearing in hearings),
        strengths=tuple(s for hearing in hearings for s in strengths(hearing, finals, seed)),
        standings=tuple(s for hearing in hearings if hearing.independent for s in standings(hearing, finals, seed)),
        overlaps=tuple(two for hearing in hearings for two in overlaps(hearing.judge, votes(hearing.labels))),
    )


def _match(hearing: Hearing, a: str, b: str, finals: Finals, seed: int) -> Match | None:
    scores, lengths, asked, equal, unread = list[float](), list[float](), list[Prompt](), 0, 0
    for label in hearing.labels:
        id = label.prompt.id
        if id not in finals[a] or id not in finals[b]:
            continue
        x, y = finals[a][id], finals[b][id]
        score = 0.5 if x == y else score_between(label, x, y)
        equal += x == y
        unread += score is None
        if score is not None:
            scores.append(score)
            asked.append(label.prompt)
            lengths.append(float(len(y) - len(x)))
    if not scores:
        return None
    found = paired_difference([0.5] * len(scores), scores, clusters_of(asked), seed=seed)
    return _as_match(hearing, a, b, scores, lengths, equal, unread, found)


def _as_match(
    hearing: Hearing, a: str, b: str, scores: Sequence[float], lengths: Sequence[float], equal: int, unread: int,
    found: Difference,
) -> Match:  # fmt: skip
    known, room = found.clusters > 1, 0.0
    if known and found.error == 0.0:  # all ties, or all wins of one side: rare others may still exist
        room = rare(found.clusters) * (0.5 if found.value == 0.0 else 1.0)
    return Match(
        judge=hearing.judge,
        independent=hearing.independent,
        a=a,
        b=b,
        wins=sum(s == 1.0 for s in scores),
        losses=sum(s == 0.0 for s in scores),
        ties=sum(s == 0.5 for s in scores) - equal,
        equal=equal,
        unread=unread,
        win_share=0.5 + found.value,
        low=max(0.0, 0.5 + found.low - room) if known else None,
        high=min(1.0, 0.5 + found.high + room) if known else None,
        n=found.n,
        detectable=found.detectable + room if known else None,
        p=p_value(found),
        length_controlled=length_controlled(scores, lengths),
    )


def length_controlled(scores: Sequence[float], lengths: Sequence[float]) -> float | None:
    """Win share at equal length, as AlpacaEval 2 does: preference ~ logistic(theta + beta tanh(difference / sd)).

    None where all lengths or all preferences are equal, or the fit does not settle.
    """
    import numpy as np
    import statsmodels.api as sm

    y_n, d_n = np.asarray(scores), np.asarray(lengths)
    if len(y_n) < 10 or d_n.std() == 0.0 or y_n.std() == 0.0:
        return None
    X = np.column_stack([np.ones_like(d_n), np.tanh(d_n / d_n.std())])
    # Half a win and half a loss of weight at equal length keep theta finite where one side wins everything.
    X, y_n = np.vstack([X, [1.0, 0.0], [1.0, 0.0]]), np.concatenate([y_n, [1.0, 0.0]])
    weights = np.concatenate([np.ones(len(d_n)), [0.5, 0.5]])
    try:
        fit = sm.GLM(y_n, X, family=sm.families.Binomial(), freq_weights=weights).fit(maxiter=50)
    except (np.linalg.LinAlgError, ValueError):
        return None
    theta = float(np.asarray(fit.params)[0])
    return float(1.0 / (1.0 + np.exp(-theta))) if fit.converged and abs(theta) < 20.0 else None


def _bench(hearing: Hearing) -> Bench:
    verdicts = unread = first = placed = consistent = both = longer = lengths = 0
    for label in hearing.labels:
        for comparison in label.comparisons:
            by: dict[tuple[str, str], list[float]] = {}
            for vote in comparison.votes:
                verdicts += 1
                unread += vote.p_a is None and not vote.cannot_tell
                if vote.p_a is not None and vote.p_a != 0.5:
                    placed += 1
                    first += (vote.p_a > 0.5) == (vote.order == "ab")
                    by.setdefault((vote.principle, vote.judge), []).append(vote.p_a)
            for ps in by.values():
                both += len(ps) == 2
                consistent += len(ps) == 2 and (ps[0] > 0.5) == (ps[1] > 0.5)
            p, sizes = preference(comparison), [len(label.replies[i]) for i in (comparison.a, comparison.b)]
            if p is not None and p != 0.5 and sizes[0] != sizes[1]:
                lengths += 1
                longer += (p > 0.5) == (sizes[0] > sizes[1])
    return Bench(
        judge=hearing.judge,
        verdicts=verdicts,
        unread=Rate.of(unread, verdicts),
        consistent=Rate.of(consistent, both),
        first=Rate.of(first, placed),
        longer=Rate.of(longer, lengths),
    )
