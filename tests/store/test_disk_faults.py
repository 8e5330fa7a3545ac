"""A disk that refuses: the file and the free space are named, nothing half written is left, the run goes on later."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_stage import IDENTITY, Answer, export, in_child, stage, whole

from cai.records import Usage
from cai.store import StoreError, open_run

ITEMS = range(60)


async def big(item: int) -> Answer:
    return Answer(item=item, text=f"{item}" * 20_000, usage=Usage())


def refused(act: Callable[[], object], notes: Path, limit: int | None = None) -> str:
    """The message of the StoreError that `act` raises in a child, which may not write files above `limit` bytes."""

    def child() -> None:
        message = notes.open("w")
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            act()
        except StoreError as error:
            message.write(str(error))
            message.flush()
            raise

    assert in_child(child).code == 1
    return notes.read_text()


def one_pass(base: Path) -> None:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, ITEMS, big)
        export(run)


def test_a_journal_that_cannot_grow_stops_the_run_which_goes_on_later(base: Path, tmp_path: Path) -> None:
    message = refused(lambda: one_pass(base), tmp_path / "message", limit=400_000)
    assert "journal.sqlite: cannot write:" in message
    assert "MB free in" in message
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        assert 0 < run.states("test").total() < len(ITEMS)
        stage(run, ITEMS, big)
        resumed = export(run)
    with open_run(base, "other", stage="test", identity=IDENTITY) as run:
        stage(run, ITEMS, big)
        assert export(run) == resumed


def test_an_export_that_does_not_fit_leaves_the_old_one_and_no_rest(base: Path, tmp_path: Path) -> None:
    old = whole(base, "run", range(50))

    def write_more() -> None:
        with open_run(base, "run", stage="test", identity=IDENTITY) as run:
            run.write_text("report.txt", "x" * 100_000)

    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        run.write_text("report.txt", "old")
    message = refused(write_more, tmp_path / "message", limit=50_000)
    assert "report.txt: cannot write: File too large" in message
    assert "MB free in" in message
    assert (base / "run" / "report.txt").read_text() == "old"
    assert (base / "run" / "answers.parquet").read_bytes() == old
    assert not list((base / "run").glob(".*.tmp"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    assert "disk is full" in refused(lambda: one_pass(small_disk), tmp_path / "message")
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    one_pass(small_disk)
    assert not list((small_disk / "run").glob(".*.tmp"))


def test_a_read_only_disk_is_named(small_disk: Path, tmp_path: Path) -> None:
    whole(small_disk, "run", range(5))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    message = refused(lambda: one_pass(small_disk), tmp_path / "message")
    assert "Read-only file system" in message
    assert str(small_disk / "run") in message


def test_a_folder_that_is_a_file_is_named(base: Path, tmp_path: Path) -> None:
    base.write_text("")
    with (
        pytest.raises(StoreError, match=r"runs/run: cannot write: Not a directory"),
        open_run(base, "run", stage="test", identity=IDENTITY),
    ):
        pass


def test_a_damaged_journal_is_named(base: Path) -> None:
    (base / "run").mkdir(parents=True)
    (base / "run" / "journal.sqlite").write_bytes(b"not a journal " * 500)
    with (
        pytest.raises(StoreError, match=r"journal\.sqlite: cannot write: file is not a database"),
        open_run(base, "run", stage="test", identity=IDENTITY),
    ):
        pass
