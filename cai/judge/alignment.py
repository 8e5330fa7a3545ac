"""How well the judges agree with people: accuracy, calibration, and where they err."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cai.judge.calibration import Calibration, calibration
from cai.judge.combine import per_judge
from cai.judge.diagnostics import Share
from cai.judge.people import Judged, Said, judged
from cai.judge.weights import LEAST_LABELS, Weights, learn_weights
from cai.records import Label, Record

MOST_ERRORS = 20


class Part(Record):
    """Accuracy within one principle, category or judge, ties of people left out."""

    name: str
    accuracy: Share


class Error(Record):
    """A label that people contradict."""

    id: str
    principles: tuple[str, ...]
    category: str
    p_right: float
    """The probability the judge gave to the reply that people prefer."""


class Alignment(Record):
    """The judge against the answers of people."""

    answers: int
    unmatched: int
    """Answers to questions that are not among this run's labels."""
    cannot_tell: int
    ties: int
    measured: Calibration | None
    accuracy: Share
    principles: tuple[Part, ...]
    categories: tuple[Part, ...]
    judges: tuple[Part, ...]
    errors: tuple[Error, ...]
    """The labels furthest from people's choice, worst first."""
    weights: Weights | None
    """Learnt where there are several judges and enough answers."""


def align(labels: Iterable[Label], answers: Mapping[str, Said], *, importance: Mapping[str, float]) -> Alignment:
    """Compare every answered label with its answer."""
    met = [one for one in judged(labels) if one.id in answers]
    known = [(one, outcome) for one in met if (outcome := one.outcome(answers[one.id])) is not None]
    ps = [_p(one) for one, _ in known]
    outcomes = [outcome for _, outcome in known]
    by_judge = [per_judge(one.comparison.votes, importance) for one, _ in known]
    several = len({judge for p in by_judge for judge in p}) > 1
    enough = sum(y != 0.5 for y in outcomes) >= LEAST_LABELS
    return Alignment(
        answers=len(answers),
        unmatched=len(answers.keys() - {one.id for one in met}),
        cannot_tell=len(met) - len(known),
        ties=sum(y == 0.5 for y in outcomes),
        measured=calibration(ps, outcomes) if ps else None,
        accuracy=_share(zip(ps, outcomes, strict=True)),
        principles=_parts((name, _p(one), y) for one, y in known for name in one.principles),
        categories=_parts((one.label.prompt.category, _p(one), y) for one, y in known),
        judges=_parts((judge, p, y) for by, y in zip(by_judge, outcomes, strict=True) for judge, p in by.items()),
        errors=tuple(_errors(known)),
        weights=learn_weights(by_judge, outcomes) if several and enough else None,
    )


def _p(one: Judged) -> float:
    assert one.comparison.p_a is not None, "only read comparisons are compared with people"
    return one.comparison.p_a


def _share(pairs: Iterable[tuple[float, float]]) -> Share:
    """Right choices among the outcomes that are no tie; an undecided probability is half right."""
    right = [0.5 if p == 0.5 else float((p > 0.5) == (y > 0.5)) for p, y in pairs if y != 0.5]
    return Share.of(sum(right), len(right))


def _parts(rows: Iterable[tuple[str, float, float]]) -> tuple[Part, ...]:
    groups: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, p, y in rows:
        groups[name].append((p, y))
    return tuple(Part(name=name, accuracy=_share(groups[name])) for name in sorted(groups))


def _errors(known: Sequence[tuple[Judged, float]]) -> list[Error]:
    wrong = [
        Error(id=one.id, principles=one.principles, category=one.label.prompt.category, p_right=p)
        for one, y in known
        if y != 0.5 and (p := _p(one) if y == 1.0 else 1.0 - _p(one)) < 0.5
    ]
    return sorted(wrong, key=lambda error: (error.p_right, error.id))[:MOST_ERRORS]
