"""`cai critique` and `cai demo` as a user runs them, with small real models."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
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


def test_a_run_killed_in_the_middle_and_resumed_with_other_concurrency_exports_the_same_bytes(model, tmp_path):
    words = ["critique", "-m", str(model), "--limit", "24", "--max-tokens", "12", "-r", "r"]
    whole = cai_here(*words, cwd=tmp_path)
    assert whole.code == 0, whole.err
    (tmp_path / "cut").mkdir()
    code = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"
    command = [sys.executable, "-c", code, *words, "engine.concurrency=2"]
    child = subprocess.Popen(command, cwd=tmp_path / "cut", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / "cut" / "runs" / "r" / "journal.sqlite-wal"
    while child.poll() is None and not (journal.exists() and journal.stat().st_size > 30_000):
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    resumed = cai_here(*words, "engine.concurrency=5", cwd=tmp_path / "cut")
    assert resumed.code == 0, resumed.err
    assert exports(tmp_path / "runs" / "r") == exports(tmp_path / "cut" / "runs" / "r")
    about = json.loads((tmp_path / "cut" / "runs" / "r" / "about.json").read_text())
    assert about["critique"]["counts"]["ok"] == 24
    assert about["critique"]["usage"]["completion_tokens"] > 24 * 12
    assert about["versions"]["transformers"]


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
