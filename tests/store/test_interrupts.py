"""Ctrl-C on a terminal, and SIGTERM: the first finishes what is in flight, the second drops it, both are resumable."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from small_stage import IDENTITY, stage, whole

from cai.store import open_run
from cai.store.reader import Reader

SCRIPT = Path(__file__).with_name("slow_stage.py")
ITEMS = 40


class Terminal:
    """The script on a pseudo-terminal of its own."""

    def __init__(self, base: Path, seconds: float) -> None:
        self.leader, follower = pty.openpty()
        command = [sys.executable, str(SCRIPT), str(base), str(seconds), str(ITEMS)]
        # A session of its own whose terminal is ours, so that ^C typed there becomes SIGINT.
        start = (
            f"import os,fcntl,termios,sys; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({command[0]!r}, {command!r})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", start], stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        )
        os.close(follower)
        self.shown = ""

    def read_until(self, words: str) -> None:
        while words not in self.shown:
            self.shown += os.read(self.leader, 4096).decode()

    def type(self, key: bytes) -> None:
        os.write(self.leader, key)

    def end(self) -> int:
        """Read to the end and give the exit code."""
        try:
            while part := os.read(self.leader, 4096):
                self.shown += part.decode()
        except OSError:  # the other end is closed
            pass
        return self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


def test_ctrl_c_stores_what_is_in_flight_and_the_same_command_goes_on(base: Path) -> None:
    with closing(Terminal(base, 0.1)) as terminal:
        terminal.read_until("done 4")
        terminal.type(b"\x03")
        assert terminal.end() == 130
    assert "stopping, 4 in flight" in terminal.shown
    assert "resumable: same command" in terminal.shown
    totals = Reader(base / "run" / "journal.sqlite").totals("test")
    assert 8 <= totals.states["ok"] < ITEMS
    assert not (base / "run" / "answers.parquet").exists()
    assert whole(base, "run", range(ITEMS)) == whole(base, "uninterrupted", range(ITEMS))


def test_a_second_ctrl_c_drops_what_is_in_flight(base: Path) -> None:
    with closing(Terminal(base, 60)) as terminal:
        terminal.read_until("done 0")
        terminal.type(b"\x03")
        terminal.read_until("stopping, 4 in flight")
        began = time.monotonic()
        terminal.type(b"\x03")
        assert terminal.end() == 130
    assert time.monotonic() - began < 20
    assert Reader(base / "run" / "journal.sqlite").totals("test").done == 0
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        assert stage(run, range(3)).ok == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_without_a_terminal_do_the_same(base: Path, number: signal.Signals) -> None:
    command = [sys.executable, str(SCRIPT), str(base), "0.1", str(ITEMS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "done 4" not in process.stdout.readline():
            pass
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "resumable: same command" in rest
