"""`cai critique` through a server that fails in every way we know of, poisons prompts, and goes away."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.faulty_server import served
from tests.cli.process import cai_here
from tests.engine.fake_server import BEHAVIOURS, FakeServer, answer

pytestmark = pytest.mark.slow
QUICK = ("first_wait=0.01", "timeout=10", "attempts=12")


def critique(fake: FakeServer, folder: Path, count: int, *more: str) -> Any:
    """`cai critique` with one draft per prompt, so that a prompt is a request."""
    rows = [{"prompt": f"How do I lend lamp {number}?"} for number in range(count)]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [f"engine.openai.{setting}" for setting in (f"base_url={fake.base_url}", *QUICK)]
    return cai_here(
        "critique", "-p", "p.jsonl", "-m", "m", "--engine", "openai", "--rounds", "0", *settings, *more, cwd=folder
    )


def reply(content: dict[str, Any]) -> dict[str, Any]:
    return answer(f"Ask first: {content['messages'][-1]['content']}")


def number_of(content: dict[str, Any]) -> int:
    return int("".join(letter for letter in content["messages"][-1]["content"] if letter.isdigit()))


def drafts(folder: Path) -> list[str]:
    return pq.read_table(folder / "runs" / "critique" / "sft.parquet").column("draft").to_pylist()


def test_every_kind_of_fault_leaves_each_prompt_answered_once(tmp_path: Path) -> None:
    rng = random.Random(3)
    quick = [behaviour for behaviour in BEHAVIOURS if behaviour not in ("hang", "drip")]
    met: Counter[str] = Counter()

    def behave(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        # Those that take their time come once each: they cost the timeout.
        behaviour = ("hang", "drip")[number - 20] if number in (20, 21) else rng.choice(quick)
        if rng.random() >= 0.3 and number not in (20, 21):
            return reply(content)
        met[behaviour] += 1
        return behaviour

    with served(behave) as fake:
        ended = critique(fake, tmp_path, 120)
        assert ended.code == 0, ended.err
        assert set(met) == set(BEHAVIOURS)
        assert (len(fake.answered), set(fake.answered.values())) == (120, {1})
    assert len(drafts(tmp_path)) == len(set(drafts(tmp_path))) == 120


def test_thirteen_poison_prompts_of_a_thousand_are_set_aside(tmp_path: Path) -> None:
    poison = set(random.Random(7).sample(range(1000), 13))

    def behave(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        return "error-500" if number_of(content) in poison else reply(content)

    with served(behave) as fake:
        ended = critique(fake, tmp_path, 1000, "engine.openai.attempts=3", "engine.concurrency=200")
    assert ended.code == 0, ended.err
    about = json.loads((tmp_path / "runs" / "critique" / "about.json").read_text())["critique"]
    assert (about["counts"]["ok"], about["counts"]["quarantined"]) == (987, 13)
    dropped = pq.read_table(tmp_path / "runs" / "critique" / "dropped.parquet").to_pylist()
    told = {int(row["source"].rpartition(":")[2]) - 1: row["reason"] for row in dropped if row["error"]}
    assert told == dict.fromkeys(poison, "RecordFault")


def test_a_server_that_goes_away_loses_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    gone = False
    soon = ("engine.concurrency=8", "engine.openai.attempts=50", "engine.openai.breaker_seconds=1")

    def behave(number: int, content: dict[str, Any]) -> str | dict[str, Any]:
        nonlocal gone
        gone = gone or number == 30
        return "reset" if gone else reply(content)

    with served(behave) as fake:
        first = critique(fake, tmp_path, 60, *soon)
        assert first.code == 1
        assert "run the same command again to go on" in first.err
        assert "Traceback" not in first.err
        before = len(fake.answered)
        assert 0 < before <= 30
        fake._behave = lambda number, content: reply(content)
        second = critique(fake, tmp_path, 60, *soon)
        assert second.code == 0, second.err
        assert (len(fake.answered), set(fake.answered.values())) == (60, {1})
    assert len(set(drafts(tmp_path))) == 60
