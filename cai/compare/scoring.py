"""What a judge said of replies, as a score between two of them: the ground of every count of wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cai.compare.principles import agreed
from cai.records import Comparison, Label

DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one judge said: its labels, by prompt."""

    judge: str
    independent: bool
    labels: tuple[Label, ...]


Finals = Mapping[str, Mapping[str, str]]
"""Side (or `DRAFT`), then prompt id, then reply."""


def preference(comparison: Comparison, principle: str = "") -> float | None:
    """Probability of the comparison's reply a: the mean over principles, orders that contradict each other a tie.

    With a `principle`, by that one alone.
    """
    by: dict[tuple[str, str], list[float | None]] = {}
    for vote in comparison.votes:
        if principle in ("", vote.principle):
            by.setdefault((vote.principle, vote.judge), []).append(vote.p_a)
    known = [p for ps in by.values() if (p := agreed(ps)) is not None]
    return sum(known) / len(known) if known else None


def score_between(label: Label, x: str, y: str, principle: str = "") -> float | None:
    """What reply `y` scores against reply `x`: 1, 0 or one half; None where it was not read or not judged."""
    at = {reply: index for index, reply in enumerate(label.replies)}
    if x not in at or y not in at:
        return None
    for comparison in label.comparisons:
        if {comparison.a, comparison.b} == {at[x], at[y]}:
            p = preference(comparison, principle)
            if p is None:
                return None
            p = p if comparison.a == at[y] else 1.0 - p
            return 1.0 if p > 0.5 else 0.0 if p < 0.5 else 0.5
    return None
