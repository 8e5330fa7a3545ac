"""A process that dies at any step loses no row it had reported, and the next one ends with the same bytes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from small_stage import IDENTITY, Answer, answer, die, export, in_child, stage, start, wait, whole

from cai.store import Counts, open_run
from cai.store.files import read_json

ITEMS, CONCURRENCY = range(12), 4


class Steps:
    """Counts steps that change the disk, and dies before step `last`; steps outside `folder` do not count."""

    def __init__(self, folder: Path, last: int) -> None:
        self.folder, self.left = str(folder), last

    def watch(self) -> None:
        """Opening for writing, renaming and removing files, from here to the end of the process."""
        sys.addaudithook(self._on_event)

    def statement(self, _: str) -> None:
        """A statement of SQLite is about to run."""
        self.left -= 1
        if self.left < 0:
            die()

    def _on_event(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and str(arguments[1] or "r")[0] in "wxa"
        if (writes or event in ("os.rename", "os.remove", "sqlite3.connect")) and self.folder in str(arguments[0]):
            self.statement(event)


def report(path: Path, text: str) -> None:
    """Append to a file the parent reads after the child's death; one write, so that it is whole."""
    with path.open("ab", buffering=0) as file:
        file.write(text.encode())


def work_and_die(base: Path, notes: Path, last: int) -> None:
    """One pass of the stage that dies before its step `last`, noting its calls and what it was told is stored."""
    steps = Steps(base, last)
    steps.watch()

    async def work(item: int) -> Answer:
        report(notes / "calls", f"{item}\n")
        await asyncio.sleep(0)
        return answer(item)

    def progress(counts: Counts) -> None:
        report(notes / "told", f"{counts.done}\n")

    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        run.journal._connection.set_trace_callback(steps.statement)
        stage(run, ITEMS, work, concurrency=CONCURRENCY, progress=progress)
        export(run)
        run.write_about({"done": True})


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def stored(base: Path) -> int:
    """Rows in the journal after an integrity check; none where the child died before it made the tables."""
    path = base / "run" / "journal.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not journal.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
            return 0
        return journal.execute("SELECT count(*) FROM rows").fetchone()[0]


def deaths(base: Path, every: int) -> Iterator[tuple[Path, Path]]:
    """A fresh folder of runs and one of notes for each `every`-th step a child died at, until a child passes."""
    for last in range(0, 1000, every):
        runs, notes = base / f"{last}" / "runs", base / f"{last}" / "notes"
        notes.mkdir(parents=True)
        ended = in_child(lambda runs=runs, notes=notes, last=last: work_and_die(runs, notes, last))
        if ended.signal is None:
            assert ended.code == 0
            assert last > 20, "the steps were not counted"
            return
        assert ended.signal == signal.SIGKILL
        yield runs, notes
    raise AssertionError("no child ever passed")


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_death_at_any_step_loses_nothing_and_repeats_only_what_was_in_flight(base: Path, every: int) -> None:
    expected = whole(base, "whole", ITEMS)
    for runs, notes in deaths(base, every):
        assert stored(runs) >= max(numbers(notes / "told"), default=0)
        assert in_child(lambda runs=runs, notes=notes: work_and_die(runs, notes, 10_000)).code == 0
        assert stored(runs) == len(ITEMS)
        assert (runs / "run" / "answers.parquet").read_bytes() == expected
        assert len(numbers(notes / "calls")) <= len(ITEMS) + CONCURRENCY
        assert not list((runs / "run").glob(".*.tmp"))


def write_files(folder_base: Path, text: str, last: int) -> None:
    with open_run(folder_base, "run", stage="test", identity=IDENTITY) as run:
        Steps(folder_base, last).watch()
        run.write_text("report.txt", text)


def test_a_file_is_old_or_new_whenever_its_writer_dies(base: Path) -> None:
    seen: set[tuple[str, bool]] = set()
    for last in range(100):
        assert in_child(lambda: write_files(base, "old", 1000)).code == 0
        ended = in_child(lambda last=last: write_files(base, "new", last))
        text = (base / "run" / "report.txt").read_text()
        manifest = read_json(base / "run" / "manifest.json")
        seen.add((text, manifest["report.txt"]["sha256"].startswith("11507a0e")))  # pyright: ignore[reportIndexIssue]
        if ended.code == 0:
            break
    # sha256("new") = 11507a0e…: the manifest follows its file, never the other way round.
    assert seen == {("old", False), ("new", False), ("new", True)}


def random_kills(base: Path, count: int, items: range) -> None:
    """Start the same pass again and again, each killed after a random time, then once to the end."""
    expected, chance = whole(base, "whole", items), random.Random(1)
    notes = base / "notes"
    notes.mkdir()

    async def work(item: int) -> Answer:
        await asyncio.sleep(0.002)
        report(notes / "calls", f"{item}\n")
        return answer(item)

    def one_pass() -> None:
        with open_run(base, "run", stage="test", identity=IDENTITY) as run:
            stage(run, items, work, progress=lambda counts: report(notes / "told", f"{counts.done}\n"))
            export(run)

    kills = 0
    for _ in range(count):
        child = start(one_pass)
        time.sleep(chance.uniform(0.005, 0.05))
        os.kill(child, signal.SIGKILL)
        kills += wait(child).signal == signal.SIGKILL
        assert stored(base) >= max(numbers(notes / "told"), default=0)
    assert kills > count // 2
    assert in_child(one_pass).code == 0
    assert (base / "run" / "answers.parquet").read_bytes() == expected
    assert len(numbers(notes / "calls")) <= len(items) + count * CONCURRENCY


def test_random_kills_lose_nothing(base: Path) -> None:
    random_kills(base, 12, range(200))


@pytest.mark.slow
def test_two_hundred_random_kills_lose_nothing(base: Path) -> None:
    random_kills(base, 200, range(4000))
