"""What changes between two constitutions in meaning: resolved principles are compared, not lines of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from cai.constitution.model import Constitution, Principle

Kind = Literal["added", "removed", "renamed", "changed"]
_FIELDS = ("critique", "revise", "judge", "weight", "priority", "tags")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `subject` is a principle's id or a setting's key; `part` the voice or field in it, if one."""

    kind: Kind
    subject: str
    part: str = ""
    before: str = ""
    after: str = ""


def diff(old: Constitution, new: Constitution) -> list[Change]:
    """Every change of meaning from `old` to `new`; empty exactly where both have the same sha."""
    before = {principle.id: principle for principle in old.principles}
    after = {principle.id: principle for principle in new.principles}
    gone = [id for id in before if id not in after]
    come = [id for id in after if id not in before]
    renamed = _renamed([before[id] for id in gone], [after[id] for id in come])
    changes = [Change("renamed", old_id, "id", old_id, new_id) for old_id, new_id in renamed.items()]
    changes += [Change("removed", id, before=_summary(before[id])) for id in gone if id not in renamed]
    changes += [Change("added", id, after=_summary(after[id])) for id in come if id not in renamed.values()]
    for id in before:
        if id in after:
            changes += _fields(before[id], after[id])
    names = [renamed.get(id, id) for id in before]
    were = [id for id in names if id in after]
    are = [id for id in after if id in were]
    if were != are:
        changes.append(Change("changed", "principles", "order", ", ".join(were), ", ".join(are)))
    return changes + _rest(old, new)


def _renamed(gone: list[Principle], come: list[Principle]) -> dict[str, str]:
    """Old id to new id of principles that differ in their id alone."""
    by_meaning = {principle.model_copy(update={"id": ""}).model_dump_json(): principle.id for principle in come}
    renamed: dict[str, str] = {}
    for principle in gone:
        new_id = by_meaning.pop(principle.model_copy(update={"id": ""}).model_dump_json(), None)
        if new_id is not None:
            renamed[principle.id] = new_id
    return renamed


def _summary(principle: Principle) -> str:
    return principle.judge or principle.critique


def _fields(old: Principle, new: Principle) -> list[Change]:
    return [
        Change("changed", old.id, name, _text(getattr(old, name)), _text(getattr(new, name)))
        for name in _FIELDS
        if getattr(old, name) != getattr(new, name)
    ]


def _rest(old: Constitution, new: Constitution) -> list[Change]:
    """Loop settings one by one, few-shots one by one."""
    changes = [
        Change("changed", "loop", name, _text(getattr(old.loop, name)), _text(getattr(new.loop, name)))
        for name in type(old.loop).model_fields
        if getattr(old.loop, name) != getattr(new.loop, name)
    ]
    for key in ("examples", "judge_examples"):
        were, are = getattr(old, key), getattr(new, key)
        changes += [Change("removed", key, before=example.prompt) for example in were if example not in are]
        changes += [Change("added", key, after=example.prompt) for example in are if example not in were]
        if were != are and set(were) == set(are):
            changes.append(Change("changed", key, "order or number", str(len(were)), str(len(are))))
    return changes


def _text(value: object) -> str:
    return ", ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else str(value)
