"""One process per run; the others are told who holds it and exit with 3."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from small_stage import IDENTITY, in_child, start, wait

from cai.errors import BusyError
from cai.store import open_run
from cai.store.lock import holding, is_held


def race(base: Path, contenders: int) -> list[int | None]:
    """Exit codes of children that open the same run at the same moment; the one that gets it keeps it for a while."""
    ready, go = os.pipe(), os.pipe()

    def contend() -> None:
        os.close(go[1])
        os.write(ready[1], b".")
        os.read(go[0], 1)
        with open_run(base, "run", stage="test", identity=IDENTITY):
            time.sleep(0.7)

    children = [start(contend) for _ in range(contenders)]
    for _ in children:
        os.read(ready[0], 1)
    os.close(go[1])
    codes = [wait(child).code for child in children]
    for end in (*ready, go[0]):
        os.close(end)
    return codes


def test_of_eight_that_open_a_run_at_once_one_gets_it(base: Path) -> None:
    for _ in range(2):
        assert sorted(race(base, 8), key=str) == [0, *[3] * 7]


@pytest.mark.slow
def test_of_a_hundred_pairs_that_open_a_run_at_once_one_gets_it_each_time(base: Path) -> None:
    for _ in range(100):
        assert sorted(race(base, 2), key=str) == [0, 3]


def test_the_holder_is_named_and_a_dead_one_holds_nothing(base: Path) -> None:
    ready = os.pipe()

    def hold() -> None:
        with open_run(base, "run", stage="test", identity=IDENTITY):
            os.write(ready[1], b".")
            time.sleep(60)

    child = start(hold)
    os.read(ready[0], 1)
    with pytest.raises(BusyError) as busy, open_run(base, "run", stage="other", identity={}):
        pass
    assert f"process {child} on {os.uname().nodename} since 20" in str(busy.value)
    assert busy.value.exit_code == 3
    assert is_held(base / "run")
    os.kill(child, signal.SIGKILL)
    assert wait(child).signal == signal.SIGKILL
    assert (base / "run" / "holder.json").exists()
    assert not is_held(base / "run")
    with open_run(base, "run", stage="test", identity=IDENTITY):
        pass
    assert not (base / "run" / "holder.json").exists()


def test_a_note_that_cannot_be_read_does_not_hide_that_the_run_is_held(base: Path) -> None:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        (run.folder / "holder.json").write_text("{")

        def contend() -> None:
            with pytest.raises(BusyError, match="held by another process"), holding(run.folder):
                pass

        assert in_child(contend).code == 0
