"""What came of a stage, counted from its stored rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cai.critique.hygiene import worst
from cai.records import Revision
from cai.store import Stored

UNREAD_LIMIT = 0.02
"""A larger share of critiques without a readable answer flags the run."""


@dataclass
class Fired:
    """How often one principle was asked about, found a problem, and changed the reply."""

    asked: int = 0
    violated: int = 0
    changed: int = 0
    unread: int = 0


@dataclass
class Report:
    """Counts over all rows of a run."""

    ok: int = 0
    changed: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Chains that are no training data, by their worst problem."""
    quarantined: Counter[str] = field(default_factory=Counter[str])
    """Prompts without a chain, by the kind of fault."""
    principles: dict[str, Fired] = field(default_factory=dict[str, Fired])
    step_problems: Counter[str] = field(default_factory=Counter[str])
    """Problems seen in any step, including those a later step mended."""

    @property
    def asked(self) -> int:
        return sum(fired.asked for fired in self.principles.values())

    @property
    def unread(self) -> int:
        return sum(fired.unread for fired in self.principles.values())

    def warnings(self) -> list[str]:
        """What should make a user look twice, one line each."""
        said: list[str] = []
        if self.asked and self.unread > UNREAD_LIMIT * self.asked:
            said.append(f"{self.unread / self.asked:.0%} of the critiques were empty: is the critic fit for this?")
        if self.ok and self.kept < self.ok / 2:
            said.append(f"only {self.kept / self.ok:.0%} of the chains are kept as training data: see the reasons")
        return said


def report_on(rows: Iterable[Stored[Revision]]) -> Report:
    """Count a stage's rows."""
    report = Report()
    for row in rows:
        if row.body is None:
            report.quarantined[row.kind] += 1
            continue
        revision = row.body
        report.ok += 1
        report.changed += revision.final != revision.draft
        reason = worst(revision.flags)
        if reason is None:
            report.kept += 1
        else:
            report.dropped[reason] += 1
        for step in revision.steps:
            fired = report.principles.setdefault(step.principle, Fired())
            fired.asked += 1
            fired.violated += step.violated is True
            fired.unread += step.violated is None
            fired.changed += step.changed
            report.step_problems.update(step.flags)
    return report


def principle_table(report: Report) -> list[list[str]]:
    """Header and one row per principle, the one that fired most often first."""
    ranked = sorted(report.principles.items(), key=lambda item: (-item[1].violated, item[0]))
    rows = [
        [name, str(f.asked), _share(f.violated, f.asked), _share(f.changed, f.asked), str(f.unread)]
        for name, f in ranked
    ]
    return [["principle", "asked", "found a problem", "changed the reply", "unread"], *rows]


def outcome_table(report: Report) -> list[list[str]]:
    """Header and one row per outcome: kept, each reason of a drop, each kind of fault."""
    total = report.ok + sum(report.quarantined.values())
    rows = [["kept in sft.parquet", str(report.kept), _share(report.kept, total)]]
    rows += [[f"dropped: {name}", str(n), _share(n, total)] for name, n in _ranked(report.dropped)]
    rows += [[f"quarantined: {name}", str(n), _share(n, total)] for name, n in _ranked(report.quarantined)]
    return [["outcome", "prompts", "share"], *rows]


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
