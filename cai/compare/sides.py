"""The runs that are compared: each a side with a name, its chains by prompt, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from cai.constitution.words import words_of
from cai.errors import InputError, Where
from cai.records import Prompt, Record, Revision, Usage
from cai.seeds import content_id
from cai.store.listing import find_run
from cai.store.reader import Reader
from cai.store.run import ABOUT, JOURNAL

CRITIQUE = "critique"
DRAFTS = "drafts"
"""The side made of every chain's draft: a control that costs nothing."""


class Origin(Record):
    """Where a side's records come from; it stands at the end of the report."""

    name: str
    run: str
    constitution: str
    """sha256 of the resolved constitution."""
    control: bool = False
    """A placebo: it should move nothing."""
    models: dict[str, str] = Field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    records: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    usage: Usage = Usage()
    settings: dict[str, object] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One constitution's chains, by prompt id."""

    origin: Origin
    chains: dict[str, Revision] = field(repr=False)

    @property
    def name(self) -> str:
        return self.origin.name


@dataclass(frozen=True, slots=True)
class Paired:
    """Chains of every side about the same prompts, in one order."""

    sides: tuple[Side, ...]
    prompts: tuple[Prompt, ...] = field(repr=False)
    """The prompts that every side answered."""
    clusters: tuple[str, ...] = field(repr=False)
    unpaired: int
    """Prompts that at least one side did not answer; they are left out of every difference."""

    def chains(self, side: Side) -> list[Revision]:
        return [side.chains[prompt.id] for prompt in self.prompts]


def read_side(folder: Path, name: str = "", *, control: bool = False) -> Side:
    """A run's critique stage. Raises InputError where the run holds none."""
    reader = Reader(folder / JOURNAL)
    if reader.identity(CRITIQUE) is None:
        remedy = "name a run that `cai critique` made"
        raise InputError(f"run {folder.name!r} holds no critique stage", remedy, Where(folder))
    chains = {row.body.prompt.id: row.body for row in reader.rows(CRITIQUE, Revision) if row.body is not None}
    if not chains:
        raise InputError(f"run {folder.name!r} holds no finished record", "finish it first", Where(folder))
    totals = reader.totals(CRITIQUE)
    about = _about(folder)
    origin = Origin(
        name=name or str(about.get("name") or folder.name),
        run=folder.name,
        constitution=next(iter(chains.values())).constitution,
        control=control,
        models=next(iter(chains.values())).models,
        seeds=tuple(sorted({chain.seed for chain in chains.values()})),
        records=len(chains),
        quarantined=totals.states["quarantined"],
        seconds=round(totals.seconds, 3),
        usage=totals.usage,
        settings=about.get("settings", {}),
    )
    return Side(origin, chains)


def read_sides(base: Path, names: Sequence[str]) -> tuple[Side, ...]:
    """The named runs, or folders of runs; sides of one name get their run's name, then a number, behind it."""
    folders = [Path(name) if (Path(name) / JOURNAL).is_file() else find_run(base, name) for name in names]
    return distinct([read_side(folder) for folder in folders])


def distinct(sides: Sequence[Side]) -> tuple[Side, ...]:
    """The sides under names that are all different."""
    names = [side.name for side in sides]
    found: list[Side] = []
    for side in sides:
        name = side.name if names.count(side.name) == 1 else f"{side.name} ({side.origin.run})"
        same = sum(other.name == name or other.name.startswith(f"{name} #") for other in found)
        origin = side.origin.model_copy(update={"name": f"{name} #{same + 1}" if same else name})
        found.append(Side(origin, side.chains))
    return tuple(found)


def pair(sides: Sequence[Side]) -> Paired:
    """Match the sides by prompt. Raises InputError where they have no prompt in common."""
    shared = set.intersection(*(set(side.chains) for side in sides))
    every = set.union(*(set(side.chains) for side in sides))
    if not shared:
        names = " and ".join(side.name for side in sides)
        raise InputError(f"{names} have no prompt in common", "compare runs over the same prompts")
    prompts = tuple(chain.prompt for id, chain in sides[0].chains.items() if id in shared)
    return Paired(tuple(sides), prompts, clusters_of(prompts), len(every) - len(shared))


def clusters_of(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    """The question behind each prompt: variants of one opening, told apart by marks alone, are one question."""
    return tuple(content_id(words_of(prompt.messages[0].content) or [prompt.id]) for prompt in prompts)


def _about(folder: Path) -> dict[str, dict[str, object]]:
    """Name and settings from about.json, empty where there is none: the journal alone is the truth."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    stage = json.loads(path.read_text("utf-8")).get(CRITIQUE, {})
    return {"name": stage.get("constitution", {}).get("name", ""), "settings": stage.get("settings", {})}
