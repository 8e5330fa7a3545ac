"""Depth `text`: what differs between constitutions before any model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from cai.constitution.diff import diff
from cai.constitution.model import Constitution
from cai.constitution.words import content_words, overlap
from cai.records import Record

NEAR = 0.6
"""Share of content words from which two principles count as near-duplicates."""


class Changed(Record):
    """One difference in meaning: a principle added, removed, renamed, reworded, reordered or reweighted."""

    a: str
    b: str
    kind: str
    subject: str
    part: str
    before: str
    after: str


class NearDuplicate(Record):
    """Two principles of different ids that say nearly the same, in one constitution or across two."""

    a: str
    b: str
    x: str
    y: str
    overlap: float


class Wording(Record):
    """All that the texts alone tell."""

    changes: tuple[Changed, ...] = ()
    near: tuple[NearDuplicate, ...] = ()


_KINDS = {"order": "reordered", "weight": "reweighted", "priority": "reweighted"}


def compare_wording(constitutions: Sequence[Constitution]) -> Wording:
    """Every two constitutions, and near-duplicates within and across them."""
    changes = [
        Changed(
            a=old.name,
            b=new.name,
            kind=_kind(change.kind, change.part),
            subject=change.subject,
            part=change.part,
            before=change.before,
            after=change.after,
        )
        for old, new in combinations(constitutions, 2)
        for change in diff(old, new)
    ]
    return Wording(changes=tuple(changes), near=tuple(_near(constitutions)))


def _kind(kind: str, part: str) -> str:
    if kind != "changed":
        return kind
    return _KINDS.get(part, "reworded" if part in ("critique", "revise", "judge") else "changed")


def _near(constitutions: Sequence[Constitution]) -> list[NearDuplicate]:
    every = [(c.name, p, content_words(p)) for c in constitutions for p in c.principles]
    found: dict[tuple[str, str], NearDuplicate] = {}
    for (a, p, words_p), (b, q, words_q) in combinations(every, 2):
        share = overlap(words_p, words_q)
        if p.id != q.id and share >= NEAR:
            found.setdefault((p.id, q.id), NearDuplicate(a=a, b=b, x=p.id, y=q.id, overlap=share))
    return sorted(found.values(), key=lambda near: -near.overlap)
