"""What lies in a folder of runs, told from journals alone; second tries for what failed, and removal."""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from cai.errors import InputError
from cai.store.faults import naming
from cai.store.journal import Journal
from cai.store.lock import LOCK, holding, is_held
from cai.store.reader import Reader, Totals
from cai.store.run import JOURNAL, run_folder

REPORT = "report.json"
"""What a comparison leaves in a folder of its own, which has no journal."""


@dataclass(frozen=True, slots=True)
class StageStanding:
    """One stage of a run as its rows tell it."""

    name: str
    totals: Totals
    held: bool
    """A living process holds the run."""

    @property
    def state(self) -> str:
        """`running`, `complete`, or how far it is: never a stored flag."""
        if self.held:
            return "running"
        if self.totals.items is None:
            return "resumable"
        return "complete" if self.totals.done >= self.totals.items else f"resumable, {self.totals.items:,} in all"


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run's folder and its stages; a comparison has none."""

    folder: Path
    stages: tuple[StageStanding, ...]
    bytes: int


def run_folders(base: Path) -> list[Path]:
    """The folder of every run and every comparison in `base`, by name."""
    return sorted({file.parent for name in (JOURNAL, REPORT) for file in base.glob(f"*/{name}")})


def find_run(base: Path, name: str) -> Path:
    """The folder of an existing run. Raises InputError where there is none of that name."""
    folder = run_folder(base, name)
    if not ((folder / JOURNAL).is_file() or (folder / LOCK).is_file()):
        raise InputError(f"{folder}: no such run", "`cai runs list` shows those there are")
    return folder


def find_folder(base: Path, name: str) -> Path:
    """The folder of an existing run or comparison. Raises InputError where there is none of that name."""
    folder = run_folder(base, name)
    return folder if (folder / REPORT).is_file() else find_run(base, name)


def look_at(folder: Path) -> RunStanding:
    """The standing of the run in `folder`, without holding it."""
    stages: tuple[StageStanding, ...] = ()
    if (folder / JOURNAL).is_file():
        held, reader = is_held(folder), Reader(folder / JOURNAL)
        stages = tuple(StageStanding(name, reader.totals(name), held) for name in reader.stages())
    return RunStanding(folder, stages, sum(size for _, size in files(folder)))


def files(folder: Path) -> list[tuple[str, int]]:
    """Path in the run and bytes of each of its files; one that goes away meanwhile is left out."""
    found: list[tuple[str, int]] = []
    for file in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            if file.is_file():
                found.append((str(file.relative_to(folder)), file.stat().st_size))
    return found


def forget_quarantined(folder: Path) -> int:
    """Drop the quarantined rows of a run, so that the same command tries those records again; how many there were."""
    with holding(folder), closing(Journal(folder / JOURNAL)) as journal:
        reader = Reader(folder / JOURNAL)
        stages = reader.stages()
        count = sum(reader.totals(stage).states["quarantined"] for stage in stages)
        for stage in stages:
            journal.forget(stage, "quarantined")
    return count


def remove(folder: Path) -> None:
    """Remove a run or a comparison for good.

    Raises BusyError while another process holds it, StoreError where the disk refuses.
    """
    with holding(folder, note=False), naming(folder, "remove"):
        shutil.rmtree(folder)
