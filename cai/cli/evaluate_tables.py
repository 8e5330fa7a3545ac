"""Figures of suites for the terminal: a model's own, and two models' paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cai.cli.table import table_lines
from cai.cli.terminal import plain

if TYPE_CHECKING:
    from cai.evaluate.scores import Score
    from cai.evaluate.suite import Answer, Suite
    from cai.measures.contrast import Contrast

REFUSAL_SUITES = ("xstest", "harm")
"""Suites whose figures rest on the refusal classifier."""


def model_lines(model: str, suites: Sequence[Suite], answers: Mapping[str, list[Answer]], seed: int) -> list[str]:
    """A table for each suite, with what a reader must know of its readers."""
    from cai.evaluate.scores import scores
    from cai.measures.refusal import AGREEMENT

    lines: list[str] = []
    for suite in suites:
        found = scores(suite, answers[suite.name], seed)
        lines += ["", plain(f"{model} · {suite.name}: {suite.about}"), *table_lines(score_table(found), 60)]
        if suite.name in REFUSAL_SUITES:
            lines.append(f"refusals are read by a classifier: {AGREEMENT}")
        lines += [suite.note] if suite.note else []
    return lines


def score_table(found: Sequence[Score]) -> list[list[str]]:
    """Header and a row per metric and attack."""
    rows = [
        [
            f"{s.metric} [{s.attack}]" if s.attack else s.metric,
            f"{100 * s.value:.1f}",
            "–" if s.low is None or s.high is None else f"{100 * s.low:.1f} to {100 * s.high:.1f}",
            f"{s.n:,}",
            str(s.unread),
            "" if s.worst_value is None else f"{s.worst_category} {100 * s.worst_value:.1f} (n = {s.worst_n})",
        ]
        for s in found
    ]
    return [["%", "mean", "95 % interval", "n", "unread", "worst category"], *rows]


def beside_lines(
    a: str, b: str, suites: Sequence[Suite], per_model: Sequence[Mapping[str, list[Answer]]], seed: int
) -> list[str]:
    """Model `b` minus model `a` over the items both answered."""
    from cai.evaluate.scores import side_by_side

    rows: list[list[str]] = []
    for suite in suites:
        x, y = (answers[suite.name] for answers in per_model)
        rows += contrast_rows(f"{suite.name}: ", side_by_side(suite, a, b, x, y, seed))
    return difference_lines(a, b, rows)


def difference_lines(a: str, b: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows under their header."""
    head = ["%", "difference", "95 % interval", "n", "smallest detectable", "said"]
    return ["", plain(f"{b} minus {a}, the same items"), *table_lines([head, *rows], 60)]


def contrast_rows(before: str, found: Sequence[Contrast]) -> list[list[str]]:
    """A row a metric, `before` in front of its name."""
    return [_contrast_row(f"{before}{c.outcome}", c) for c in found]


def _contrast_row(name: str, c: Contrast) -> list[str]:
    from cai.measures.contrast import number

    span = "–" if c.low is None or c.high is None else f"{100 * c.low:.1f} to {100 * c.high:.1f}"
    said = "no difference shown" if not c.shown else {True: "better", False: "worse", None: "differs"}[c.improves]
    detectable = "–" if c.detectable is None else number(c.detectable, c.unit, bare=True)
    return [name, number(c.difference, c.unit), span, f"{c.n:,}", detectable, said]
