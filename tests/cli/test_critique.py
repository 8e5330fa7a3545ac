"""`cai critique` and `cai demo` as a user runs them, with small real models."""

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.process import cai_here
from tests.engine.small_models import build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model: what it writes is noise, but real noise, drawn token by token."""
    return build("llama", tmp_path_factory.mktemp("model") / "random")


def exports(folder: Path) -> list[str]:
    names = ("sft.parquet", "dropped.parquet", "README.md")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


CODE = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"


def start(*words: str, cwd: Path) -> subprocess.Popen[bytes]:
    """`cai WORDS` as a process of its own, which can be killed."""
    command = [sys.executable, "-c", CODE, *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stored(folder: Path) -> int:
    """Chains in a run's journal; none before there is one."""
    journal = folder / "journal.sqlite"
    if not journal.is_file():
        return 0
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(journal)) as connection:
        return connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    return 0


def wait_for(child: subprocess.Popen[bytes], folder: Path, rows: int) -> None:
    """Until so many chains are stored, or the child has ended."""
    while child.poll() is None and stored(folder) < rows:
        time.sleep(0.005)


LOOP = ("critique", "--limit", "24", "--max-tokens", "24", "--rounds", "2", "-r", "r")
"""Two rounds of the built-in model, cut short."""


def test_kill_nine_in_mid_run_and_the_same_command_again_export_the_bytes_of_an_uninterrupted_run(tmp_path):
    whole = cai_here(*LOOP, cwd=tmp_path)
    assert whole.code == 0, whole.err
    (tmp_path / "cut").mkdir()
    folder = tmp_path / "cut" / "runs" / "r"
    child = start(*LOOP, "engine.concurrency=2", cwd=tmp_path / "cut")
    wait_for(child, folder, 3)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert 3 <= stored(folder) < 24
    resumed = cai_here(*LOOP, "engine.concurrency=5", cwd=tmp_path / "cut")
    assert resumed.code == 0, resumed.err
    assert exports(tmp_path / "runs" / "r") == exports(folder)
    about = json.loads((folder / "about.json").read_text())
    assert about["critique"]["counts"]["ok"] == 24
    assert about["critique"]["usage"]["completion_tokens"] > 24 * 12
    assert about["versions"]["transformers"]


def test_a_signal_while_the_model_loads_is_told_like_one_in_mid_run(tmp_path):
    command = [sys.executable, "-c", CODE, "critique", "--limit", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr
        assert child.stderr.readline() == "2 testbed prompts\n"
        child.send_signal(signal.SIGTERM)
        said = child.stderr.read()
    assert child.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted; what was finished is stored; resumable: same command"


@pytest.mark.slow
def test_kills_again_and_again_and_a_ctrl_c_leave_no_trace_in_the_export(tmp_path):
    whole = cai_here(*LOOP, cwd=tmp_path)
    assert whole.code == 0, whole.err
    (tmp_path / "cut").mkdir()
    folder = tmp_path / "cut" / "runs" / "r"
    for rows in (1, 4, 8, 12):
        child = start(*LOOP, f"engine.concurrency={1 + rows % 3}", cwd=tmp_path / "cut")
        wait_for(child, folder, rows)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    code, shown = ctrl_c(LOOP, tmp_path / "cut", folder, rows=15)
    assert code == 130
    assert "resumable: same command" in shown
    assert "Traceback" not in shown
    assert 15 <= stored(folder) < 24
    resumed = cai_here(*LOOP, cwd=tmp_path / "cut")
    assert resumed.code == 0, resumed.err
    assert exports(tmp_path / "runs" / "r") == exports(folder)


def ctrl_c(words: Sequence[str], cwd: Path, folder: Path, *, rows: int) -> tuple[int, str]:
    """Type ^C on a terminal where `cai WORDS` runs once so many chains are stored: exit code and what was shown."""
    leader, follower = pty.openpty()
    code = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {CODE}"
    command = [sys.executable, "-c", code, *words, "engine.concurrency=2"]
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    child = subprocess.Popen(command, cwd=cwd, start_new_session=True, **streams)
    os.close(follower)
    shown = io.StringIO()
    reader = threading.Thread(target=read_all, args=(leader, shown))
    reader.start()
    wait_for(child, folder, rows)
    os.write(leader, b"\x03")
    ended = child.wait()
    reader.join()
    os.close(leader)
    return ended, shown.getvalue()


def read_all(leader: int, into: io.StringIO) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(leader, 4096):
            into.write(part.decode(errors="replace"))


def test_a_prompt_that_does_not_fit_is_quarantined_and_the_run_goes_on(tmp_path):
    rows = [{"prompt": "How do I lend a lamp?"}, {"prompt": "lamp " * 3000}, {"prompt": "How do I water a plant?"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["critique", "-p", "p.jsonl", "--max-tokens", "8", "--rounds", "1"]
    ended = cai_here(*words, "--max-error-rate", "0.5", cwd=tmp_path)
    assert ended.code == 0, ended.err
    dropped = pq.read_table(tmp_path / "runs" / "critique" / "dropped.parquet").to_pylist()
    (row,) = [row for row in dropped if row["error"]]
    assert (row["reason"], row["source"]) == ("ContextTooLong", "p.jsonl:2")
    again = cai_here(*words, cwd=tmp_path)
    assert again.code == 1
    assert "--max-error-rate" in again.err
    assert "Traceback" not in again.err


def test_a_dry_run_shows_what_is_asked_and_stores_nothing(tmp_path):
    (tmp_path / "p.txt").write_text("How do I lend a lamp?\nHow do I lend a lamp?\nHow can I steal a lamp?\n")
    ended = cai_here(
        "critique", "-p", "p.txt", "--dry-run", "--price-in", "1000000", "--price-out", "0",
        "critique.probe=2", "--max-tokens", "16", cwd=tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "=== draft (p.txt:1)"
    assert lines[1:4] == ["[user]", "How do I lend a lamp?", "--- answer"]
    assert sum(line.startswith("=== critique, round 1") for line in lines) == 2
    assert "1 duplicates collapsed" in ended.err
    assert lines[-1] == "nothing was stored"
    calls, tokens, _, cost = lines[-5:-1]
    assert calls.startswith("2 prompts, ")
    assert cost == f"cost {float(tokens.split()[0].replace(',', '')):.4g}"
    assert not (tmp_path / "runs").exists()


def test_a_budget_stops_the_run_keeps_what_was_paid_and_is_resumable(model, tmp_path):
    words = ["critique", "-m", str(model), "--limit", "12", "--max-tokens", "8", "--price-out", "1e6",
             "engine.concurrency=1"]  # fmt: skip
    stopped = cai_here(*words, "--max-cost", "200", cwd=tmp_path)
    assert stopped.code == 1, stopped.err
    assert "resumable: same command with a higher --max-cost" in stopped.err
    about = json.loads((tmp_path / "runs" / "critique" / "about.json").read_text())["critique"]
    assert 0 < about["cost"] <= 200
    assert 0 < about["counts"]["ok"] < 12
    assert cai_here(*words, "--max-cost", "2000", cwd=tmp_path).code == 0


def test_a_changed_setting_is_refused_with_the_difference(tmp_path):
    words = ["critique", "--limit", "2", "--max-tokens", "4", "--rounds", "0"]
    assert cai_here(*words, cwd=tmp_path).code == 0
    ended = cai_here(*words, "--seed", "1", cwd=tmp_path)
    assert ended.code == 2
    assert "seed: 0 in the run, 1 now" in ended.err


def test_the_tiny_model_is_said_not_to_know_a_principle_outside_its_world(tmp_path):
    (tmp_path / "c.yaml").write_text("name: mine\nprinciples: [Talk like a pirate.]\n")
    ended = cai_here("critique", "-c", "c.yaml", "--limit", "2", "--max-tokens", "4", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert re.search("warning: the tiny model does not know what .*pirate.* asks", ended.err)


def test_the_demo_measures_the_loop_by_the_oracle_and_a_second_one_only_shows_it(tmp_path):
    first = cai_here("demo", "--loop-only", "--limit", "30", cwd=tmp_path)
    assert first.code == 0, first.err
    for said in ("harmful replies to harmful requests", "text the oracle could not read", "found a problem", "{+"):
        assert said in first.out
    assert "written to runs/demo" in first.out
    second = cai_here("demo", "--loop-only", "--limit", "30", cwd=tmp_path)
    tail = first.out[first.out.index("by the oracle") :]
    assert second.out.endswith(tail)
