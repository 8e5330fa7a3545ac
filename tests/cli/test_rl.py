"""`cai train grpo …` and `cai train iterate` as a user runs them, with a small random model."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cai.cli.rl import RL_METHODS
from cai.config import load_settings
from cai.config.rl import RLSettings
from cai.train.rl.methods import table
from tests.cli.process import Ended, cai_here
from tests.cli.random_model import random_model

VOWELS, SHORT = "tests.cli.rl_rewards:vowels", "tests.cli.rl_rewards:short"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model: its replies are noise, which a reward can still be paid for."""
    return random_model(tmp_path_factory.mktemp("model") / "random")


def grpo(model: Path, folder: Path, *more: str) -> Ended:
    words = ["steps=2", "limit=8", "rollout.prompts_per_step=4", "rollout.replies=2", "rollout.max_tokens=6"]
    words += ["watch.prompts=4", "save_every=1", f"held_out={SHORT}"]
    return cai_here("train", "grpo", "-m", str(model), "-r", "r", "--reward", f"{VOWELS}=2", *words, *more, cwd=folder)


def test_the_command_line_names_every_method() -> None:
    assert set(RL_METHODS) == set(table())


def test_a_run_leaves_a_model_curves_and_a_card_and_goes_on_with_more_steps(model: Path, tmp_path: Path) -> None:
    ended = grpo(model, tmp_path)
    assert ended.code == 0, ended.err
    folder = tmp_path / "runs/r/grpo"
    for name in ("model/model.safetensors", "model/README.md", "curves.svg", "reward-kl.svg"):
        assert (folder / name).exists(), name
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["reward"] == pytest.approx(2 * rows[0][f"reward/{VOWELS}"])
    assert rows[0]["parity_max"] < 1e-3
    assert grpo(model, tmp_path, "steps=3").code == 0
    more = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert more[:2] == rows
    assert [row["step"] for row in more] == [1, 2, 3]
    changed = grpo(model, tmp_path, "kl.coefficient=0.7")
    assert changed.code == 2
    assert "kl.coefficient" in changed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reward", "oracle"], "never a reward"),
        (["--reward", "jugde"], "there is no reward source 'jugde'"),
        (["--reward", "tests.cli.rl_rewards:vowel"], "no reward function"),
        (["--reward", "wins=much"], "the weight 'much' is not a number"),
        (["rollout.replies=1"], "rl.rollout.replies: grpo compares replies"),
        (["rl.rollout.correction=truncated", "rollout.top_p=0.9"], "biased"),
        (["ppo.ptx=0.5"], "rl.ppo.ptx"),
        (["engine.kind=openai"], "a server's weights cannot follow"),
        (["-d", "x.parquet"], "grpo draws its own replies"),
    ],
)
def test_wrong_input_is_one_line_before_any_model_loads(tmp_path: Path, words: list[str], said: str) -> None:
    ended = cai_here("train", "grpo", *words, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def rounds(model: Path, folder: Path, *more: str) -> Ended:
    words = [
        "rounds=2",
        "prompts_per_round=6",
        f"judge_model={model}",
        "label.samples=4",
        "label.max_tokens=12",
        "label.keep_truncated=true",
        "label.canaries=0",
    ]
    words += ["reward.max_steps=1", "reward.eval_share=0", "grpo.steps=1", "grpo.rollout.prompts_per_step=2"]
    words += ["grpo.rollout.max_tokens=4", "grpo.watch.prompts=4", f"grpo.held_out={SHORT}"]
    return cai_here("train", "iterate", "-m", str(model), "-r", "it", *words, *more, cwd=folder)


def test_rounds_learn_from_growing_data_and_go_on_where_they_stopped(model: Path, tmp_path: Path) -> None:
    broken = rounds(model, tmp_path, "rounds=1", "grpo.held_out=tests.cli.rl_rewards:missing")
    assert broken.code == 2
    assert "stage round 1 grpo: no reward function" in broken.err
    assert "give the same command again" in broken.err
    ended = rounds(model, tmp_path)
    assert ended.code == 0, ended.err
    assert "[1/6] round 1 label: done before" in ended.err
    folder = tmp_path / "runs/it/iterate"
    new, replay = (pq.read_table(folder / "round-2" / name) for name in ("pairs.parquet", "replay.parquet"))
    first = pq.read_table(folder / "round-1/pairs.parquet")
    assert replay.num_rows == first.num_rows
    assert not set(new.column("prompt_id").to_pylist()) & set(first.column("prompt_id").to_pylist())
    read = json.loads((folder / "rounds.json").read_text())["rounds"]
    assert [row["pairs"] for row in read] == [first.num_rows, first.num_rows + new.num_rows]
    last = folder / "round-2/grpo/model/model.safetensors"
    assert (folder / "model/model.safetensors").read_bytes() == last.read_bytes()
    card = (folder / "round-2/grpo/model/README.md").read_text()
    assert f"- reference: {model}" in card
    again = rounds(model, tmp_path)
    assert again.code == 0
    assert again.err.count("done before") == 6
    assert ended.out.endswith(again.out)


def test_rounds_need_prompts_enough(model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("".join(f"How do I mend lamp {n}?\n" for n in range(12)))
    ended = rounds(model, tmp_path, "prompts=p.txt")
    assert ended.code == 2
    assert "2 rounds of 6 prompts need 12; there are 8" in ended.err
    assert "iterate.prompts_per_round" in ended.err


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "runs").glob("*.yaml")), ids=lambda f: f.stem)
def test_reinforcement_recipes_load(recipe: Path) -> None:
    load_settings(RLSettings, "rl", recipe, [], {}) if "accelerate" not in recipe.name else None
