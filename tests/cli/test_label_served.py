"""`cai label` through a server that fails in every way we know of, poisons pairs, and goes away (F6, F7)."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.faulty_server import Behave, served
from tests.cli.judging_server import behave, label, write_pairs
from tests.engine.fake_server import BEHAVIOURS

COUNT = 60


def exported(folder: Path) -> tuple[bytes, bytes]:
    """What a run of other fortune must equal: the pairs as rows, and the diagnostics but for the tokens."""
    rows = pq.read_table(folder / "runs" / "label" / "pairs.parquet").to_pylist()
    return json.dumps(rows).encode(), (folder / "runs" / "label" / "diagnostics.json").read_bytes()


SLOW = ("hang", "drip")
"""Faults that cost the timeout."""


@pytest.mark.parametrize("mode", ["logprob", "text", pytest.param("cot", marks=pytest.mark.slow)])
def test_a_storm_of_faults_leaves_every_question_answered_once_and_the_same_labels(mode: str, tmp_path: Path) -> None:
    rng = random.Random(3)
    quick = [behaviour for behaviour in BEHAVIOURS if behaviour not in SLOW]
    met: Counter[str] = Counter()

    def storm(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        if rng.random() >= 0.3:
            return behave(number, content)
        behaviour = rng.choice(quick)
        met[behaviour] += 1
        return behaviour

    exports = [run(tmp_path / name, how, "--mode", mode) for name, how in (("clean", behave), ("storm", storm))]
    assert set(met) == set(quick)
    assert exports[0] == exports[1]


@pytest.mark.slow
def test_servers_that_hang_or_drip_cost_the_timeout_and_no_label(tmp_path: Path) -> None:
    def slow(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        return SLOW[number % 2] if number in (10, 31, 50) else behave(number, content)

    assert run(tmp_path / "slow", slow) == run(tmp_path / "clean", behave)


def run(folder: Path, how: Behave, *words: str) -> tuple[bytes, bytes]:
    """Label `COUNT` pairs on a server that behaves so; every question was answered once."""
    folder.mkdir()
    write_pairs(folder, COUNT)
    with served(how) as fake:
        ended = label(fake, folder, "--pairs", "p.jsonl", "label.canaries=0", *words)
    assert ended.code == 0, ended.err
    assert set(fake.answered.values()) == {1}
    return exported(folder)


def test_a_server_that_goes_away_loses_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_pairs(tmp_path, COUNT)
    gone = False
    words = ("--pairs", "p.jsonl", "label.canaries=0", "engine.concurrency=4", "engine.openai.attempts=50",
             "engine.openai.breaker_seconds=1")  # fmt: skip

    def leave(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        nonlocal gone
        gone = gone or number >= 40
        return "reset" if gone else behave(number, content)

    with served(leave) as fake:
        first = label(fake, tmp_path, *words)
        assert first.code == 1
        assert "run the same command again to go on" in first.err
        assert "Traceback" not in first.err
        answered = len(fake.answered)
        assert 0 < answered <= 40
        fake._behave = behave
        second = label(fake, tmp_path, *words)
        assert second.code == 0, second.err
        # One answer of a pair may have come before the other was lost: at most the questions in flight come again.
        again = sum(count - 1 for count in fake.answered.values())
        assert len(fake.answered) == 2 * COUNT
        assert again <= 4
    assert len(pq.read_table(tmp_path / "runs" / "label" / "pairs.parquet")) == COUNT


@pytest.mark.slow
def test_thirteen_poison_pairs_of_a_thousand_are_set_aside(tmp_path: Path) -> None:
    poison = set(random.Random(7).sample(range(1000), 13))
    write_pairs(tmp_path, 1000)

    def poisoned(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        lamp = content["messages"][-1]["content"].partition("lend lamp ")[2].partition("?")[0]
        return "error-500" if int(lamp) in poison else behave(number, content)

    with served(poisoned) as fake:
        words = ("engine.openai.attempts=3", "engine.concurrency=200", "label.canaries=0")
        ended = label(fake, tmp_path, "--pairs", "p.jsonl", *words)
    assert ended.code == 0, ended.err
    counts = json.loads((tmp_path / "runs" / "label" / "about.json").read_text())["label"]["counts"]
    assert (counts["ok"], counts["quarantined"]) == (987, 13)
