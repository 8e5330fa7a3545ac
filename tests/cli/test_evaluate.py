"""`cai evaluate` and `cai redteam` from the command line on the built-in model: tables, files, and the same again."""

import gzip
import json

import pytest

from tests.cli.process import cai, cai_here
from tests.cli.random_model import random_model
from tests.evaluate.test_training import GOOD, written


def no_model(*_: object) -> None:
    raise AssertionError("a model was loaded")


def test_two_models_bare_and_under_attack(tmp_path, monkeypatch):
    noise = str(random_model(tmp_path / "noise"))
    words = ("evaluate", "tiny", "--attack", "prefix", "--limit", "5", "--max-tokens", "16", "--beside", noise)
    ended = cai_here(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "tiny · testbed" in ended.out
    assert "unread text [prefix]" in ended.out
    assert f"{noise} minus tiny, the same items" in ended.out
    figures = json.loads((tmp_path / "runs" / "evaluate-tiny" / "testbed.json").read_text())
    assert {(f["metric"], f["attack"], f["n"]) for f in figures} >= {
        ("unread text", "", 5),
        ("unread text", "prefix", 5),
    }
    again = cai_here(*words, cwd=tmp_path)
    assert (again.code, again.out) == (0, ended.out)
    monkeypatch.setattr("cai.cli.evaluate_job.open_engine", no_model)
    other = cai_here(*words, "evaluate.temperature=0.5", cwd=tmp_path)
    assert other.code == 2
    assert "temperature: 0.0 in the run, 0.5 now" in other.err


def test_a_model_as_a_judge_of_peoples_pairs(tmp_path):
    (tmp_path / "hh-rlhf").mkdir()
    rows = [
        {
            side: f"\n\nHuman: Is {n} even?\n\nAssistant: {reply}"
            for side, reply in (("chosen", "Yes."), ("rejected", "No!"))
        }
        for n in range(4)
    ]
    with gzip.open(tmp_path / "hh-rlhf" / "harmless-base-test.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    ended = cai_here("evaluate", "tiny", "--suite", "hh-rlhf", "--data", ".", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "as a judge on hh-rlhf (harmless-base-test.jsonl.gz): accuracy" in ended.out
    assert "of 4 pairs about 4 questions; floor" in ended.out
    assert "calibration error" in ended.out


def test_a_training_is_looked_at_without_loading_a_model(tmp_path):
    looks = [(0.0, 0.0, 30, 0.8, 0.1, 0.1, GOOD), (1.0, -2.0, 30, 0.8, 0.1, 0.1, GOOD)]
    written(tmp_path / "runs" / "x" / "grpo", looks)
    ended = cai("evaluate", "runs/x/grpo", "--suite", "training", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "signs of reward hacking: held-out judge" in ended.out
    assert not ended.imported_torch
    missing = cai("evaluate", "tiny", "--suite", "training", cwd=tmp_path)
    assert missing.code == 2
    assert "no journal of a training by reinforcement" in missing.err


@pytest.mark.slow
def test_a_red_team_writes_prompts_that_the_next_critique_takes(tmp_path):
    words = ("redteam", "tiny", "--limit", "6", "--rounds", "1", "--width", "2")
    ended = cai_here(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    table = [line.split() for line in ended.out.splitlines()]
    assert next(row for row in table if row and row[0] == "all")[1] == "6"
    file = tmp_path / "runs" / "redteam" / "redteam.jsonl"
    prompts = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(row["source"].startswith("redteam: ") and row["category"] for row in prompts)
    assert f"{len(prompts)} different prompts that succeeded" in ended.out
    again = cai_here(*words, cwd=tmp_path)
    assert (again.code, again.out) == (0, ended.out)
    if prompts:
        taken = cai_here("critique", "-p", file, "-c", "harmless-only", "critique.rounds=1", cwd=tmp_path)
        assert taken.code == 0, taken.err
