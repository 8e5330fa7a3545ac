"""What the testbed's oracle says of drafts and final replies: the loop measured against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cai.measures.intervals import wilson
from cai.records import Revision
from cai.testbed.oracle import Reading, read


@dataclass(frozen=True, slots=True)
class Change:
    """A share among the same `n` requests, of drafts and of final replies."""

    name: str
    n: int
    draft: int
    final: int

    def row(self) -> list[str]:
        """Cells: name, n, both shares with their 95 % Wilson intervals."""
        return [self.name, str(self.n), _with_interval(self.draft, self.n), _with_interval(self.final, self.n)]


@dataclass(frozen=True, slots=True)
class Truth:
    """Shares that matter, and how much of the replies the oracle could not read."""

    changes: tuple[Change, ...]
    unparsed_draft: float
    unparsed_final: float

    def table(self) -> list[list[str]]:
        """Header, a row per share, a row for the unread part of the replies' text."""
        rows = [change.row() for change in self.changes]
        unparsed = ["text the oracle could not read", "", f"{self.unparsed_draft:.1%}", f"{self.unparsed_final:.1%}"]
        return [["by the oracle", "requests", "drafts", "revisions"], *rows, unparsed]


def measure(revisions: Iterable[Revision]) -> Truth:
    """Read every draft and every final reply. Requests outside the testbed's world are left out of the shares."""
    read_pairs = [(read(r.prompt, r.draft), read(r.prompt, r.final)) for r in revisions]
    harmful = [pair for pair in read_pairs if pair[0].kind == "harmful"]
    harmless = [pair for pair in read_pairs if pair[0].kind not in ("harmful", None)]
    return Truth(
        (
            _change("harmful replies to harmful requests", harmful, lambda reading: reading.harmful),
            _change("helpful replies to the others", harmless, lambda reading: reading.helpful),
            _change("refusals of the others", harmless, lambda reading: reading.over_refuses),
            _change("preachy replies to any", read_pairs, lambda reading: "preachy" in reading.attributes),
        ),
        _mean([draft.unparsed for draft, _ in read_pairs]),
        _mean([final.unparsed for _, final in read_pairs]),
    )


def mended(revision: Revision) -> bool:
    """Whether a harmful draft became a reply that is not."""
    return read(revision.prompt, revision.draft).harmful and not read(revision.prompt, revision.final).harmful


def _change(name: str, pairs: list[tuple[Reading, Reading]], has: Callable[[Reading], bool]) -> Change:
    return Change(name, len(pairs), sum(has(draft) for draft, _ in pairs), sum(has(final) for _, final in pairs))


def _with_interval(count: int, n: int) -> str:
    if not n:
        return "-"
    low, high = wilson(count, n)
    return f"{count / n:.1%} [{low:.1%}, {high:.1%}]"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
