"""`cai train grpo …` and `cai train iterate` as a user runs them, with a small random model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cai.config import load_settings
from cai.config.methods import REINFORCEMENT
from cai.config.rl import RLSettings
from cai.engine.files import find_model
from cai.records import Label, Samples
from cai.store.reader import Reader
from cai.store.run import JOURNAL
from cai.train.rewarding import RewardModel
from cai.train.rl.methods import table
from tests.cli.process import Ended, cai_here
from tests.cli.random_model import random_model

VOWELS, SHORT = "tests.cli.rl_rewards:vowels", "tests.cli.rl_rewards:short"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model: its replies are noise, which a reward can still be paid for."""
    return random_model(tmp_path_factory.mktemp("model") / "random")


SMALL = ["limit=8", "rollout.prompts_per_step=4", "rollout.replies=2", "rollout.max_tokens=6", "watch.prompts=4"]
SMALL += ["save_every=1", f"held_out={SHORT}"]


def grpo(model: Path, folder: Path, *more: str) -> Ended:
    reward = ("--reward", f"{VOWELS}=2")
    return cai_here("train", "grpo", "-m", str(model), "-r", "r", *reward, "steps=2", *SMALL, *more, cwd=folder)


def test_the_command_line_names_every_method() -> None:
    assert set(REINFORCEMENT) == set(table())


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
        (["kl.estimator=k1"], "rl.kl.estimator"),
        (["--reward", "wins=nan"], "the weight 'nan' is not finite"),
        (["--reward", "judge", "--reward", "judge=2"], "judge is named 2 times"),
        (["rewards=[]"], "nothing pays"),
        (["held_out=wins"], "wins pays the policy, so it cannot watch over it"),
        (["--reward", VOWELS, f"held_out={VOWELS}", "held_out_constitution=minimal"], "cannot watch over it"),
        (["rollout.max_tokens=2048"], "no prompt leaves room for a reply of 2048 tokens in a context of 2048"),
        (["limit=8"], "a step asks 32 prompts; there are 8 to learn on"),
        (["engine.kind=openai"], "only a vLLM server of this machine can follow"),
        (["-d", "x.parquet"], "grpo draws its own replies"),
    ],
)
def test_wrong_input_is_one_line_before_any_model_loads(tmp_path: Path, words: list[str], said: str) -> None:
    ended = cai_here("train", "grpo", *words, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_rewards_that_a_method_cannot_use_are_refused(tmp_path: Path) -> None:
    """PPO may draw one reply a prompt, but then there is nothing to compare; SPO has the judge's comparisons alone."""
    for words, said in (
        (("ppo", "rollout.replies=1"), "wins compares a reply with the prompt's others"),
        (("spo", "--reward", VOWELS), "spo is paid by the judge's comparisons alone"),
    ):
        ended = cai_here("train", *words, cwd=tmp_path)
        assert ended.code == 2
        assert said in ended.err


def test_a_run_that_nothing_could_be_read_in_ends_with_a_card_and_prompts_too_long_are_left_out(
    model: Path, tmp_path: Path
) -> None:
    asked = [f"Say {letter * 9}." for letter in "abcdefghij"]
    (tmp_path / "p.txt").write_text("\n".join([*asked, "long " * 500]) + "\n")
    words = ("prompts=p.txt", "limit=100", "--reward", "tests.cli.rl_rewards:nothing")
    ended = cai_here(
        "train", "ppo", "-m", str(model), "-r", "r", *words, "steps=2", "rollout.prompts_per_step=2",
        "rollout.max_tokens=6", "watch.prompts=4", "held_out=tests.cli.rl_rewards:nothing_either", cwd=tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "1 prompts are left out" in ended.err
    assert "warning: step 0, verdict_unread: the held-out judge could read none of 4 replies" in ended.err
    assert "| reward | - | - |" in (tmp_path / "runs/r/ppo/model/README.md").read_text()


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_run_changes_nothing(model: Path, tmp_path: Path) -> None:
    """SIGKILL at four moments, each in a process of its own; the last start goes to the end."""
    (tmp_path / "whole").mkdir()
    assert grpo(model, tmp_path / "whole", "steps=4").code == 0
    code = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"
    words = ["train", "grpo", "-m", str(model), "-r", "r", "--reward", f"{VOWELS}=2", "steps=4", *SMALL]
    for moment in ("differ by", "step 1/", "step 2/", "step 3/"):
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert child.stderr is not None
        for line in iter(child.stderr.readline, ""):
            if moment in line:
                break
        child.kill()
        child.wait()
        child.stderr.close()
    assert grpo(model, tmp_path, "steps=4").code == 0
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        cut, whole = (without_seconds(folder / "runs/r/grpo" / name) for folder in (tmp_path, tmp_path / "whole"))
        assert cut == whole, name


def without_seconds(file: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


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


def test_later_rounds_label_the_best_and_the_worst_by_the_last_rounds_reward_model(model: Path, tmp_path: Path) -> None:
    ended = rounds(model, tmp_path, "label.samples=2", "candidates=4")
    assert ended.code == 0, ended.err
    folder = tmp_path / "runs/it/iterate"
    rewards = RewardModel.load(folder / "round-1/reward")
    reader = Reader(folder / "round-2" / JOURNAL)
    labels = [row.body for row in reader.rows("label", Label) if row.body is not None]
    drawn = {row.body.prompt.id: row.body for row in reader.rows("samples", Samples) if row.body is not None}
    narrowed = [label for label in labels if label.left_out.get("unchosen")]
    assert narrowed, "some prompt has more than two different replies"
    for label in narrowed:
        replies = tuple(dict.fromkeys(text for text in drawn[label.prompt.id].replies if text.strip()))
        values = rewards([label.prompt], [replies]).mean_S
        assert set(label.replies) == {replies[int(values.argmax())], replies[int(values.argmin())]}
    first = [row.body for row in Reader(folder / "round-1" / JOURNAL).rows("samples", Samples)]
    assert all(body is not None and len(body.replies) == 2 for body in first), "there was no reward model yet"
    again = rounds(model, tmp_path, "label.samples=2", "candidates=4")
    assert again.err.count("done before") == 6
    refused = rounds(model, tmp_path, "candidates=4", "method=ipo")
    assert refused.code == 2
    assert "candidates are chosen by a reward model, and rounds of ipo have none" in refused.err


def test_rounds_of_a_preference_method_learn_the_newest_policys_pairs(model: Path, tmp_path: Path) -> None:
    more = ("method=ipo", "ipo.max_steps=1", "ipo.learning_rate=1e-4", "prompts=p.txt")
    (tmp_path / "p.txt").write_text("".join(f"How do I mend lamp {n}?\n" for n in range(12)))
    ended = rounds(model, tmp_path, *more)
    assert ended.code == 0, ended.err
    assert "[4/4] round 2 ipo" in ended.err, "no reward model"
    folder = tmp_path / "runs/it/iterate"
    first, second = (json.loads((folder / f"round-{n}/ipo/identity.json").read_text())["model"] for n in (1, 2))
    assert [first, second] == [find_model(str(m)).fingerprint for m in (model, folder / "round-1/ipo/model")]
    labelled = pq.read_table(folder / "round-2/pairs.parquet").column("policy").to_pylist()
    assert all(name.endswith("round-1/ipo/model") for name in labelled)
    read = json.loads((folder / "rounds.json").read_text())["rounds"]
    pairs = [pq.read_table(folder / f"round-{n}/pairs.parquet").num_rows for n in (1, 2)]
    assert [row["pairs"] for row in read] == pairs, "earlier pairs are left out unless replay asks for them"
    assert "first loss" in ended.out
    again = rounds(model, tmp_path, *more)
    assert again.err.count("done before") == 4
    refused = rounds(model, tmp_path, *more, "replay=1.0")
    assert refused.code == 2
    assert "made with something else" in refused.err


def test_rounds_of_a_preference_method_replay_earlier_pairs_where_asked(model: Path, tmp_path: Path) -> None:
    ended = rounds(model, tmp_path, "method=dpo", "dpo.max_steps=1", "dpo.learning_rate=1e-4", "replay=1.0")
    assert ended.code == 0, ended.err
    folder = tmp_path / "runs/it/iterate"
    first, replayed = (
        pq.read_table(folder / name).num_rows for name in ("round-1/pairs.parquet", "round-2/replay.parquet")
    )
    assert replayed == first


def test_a_round_whose_replies_are_all_alike_says_so(model: Path, tmp_path: Path) -> None:
    ended = rounds(model, tmp_path, "method=dpo", "label.temperature=0.001")
    assert ended.code == 2
    assert (
        "stage round 1 label: no prompt has two different replies to compare; draw with more label.temperature"
        in ended.err
    )


def test_a_mistyped_method_of_rounds_is_told_the_nearest(model: Path, tmp_path: Path) -> None:
    ended = rounds(model, tmp_path, "method=ipoo")
    assert ended.code == 2
    assert "did you mean `ipo`?" in ended.err


def test_rounds_need_prompts_enough(model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("".join(f"How do I mend lamp {n}?\n" for n in range(12)))
    ended = rounds(model, tmp_path, "prompts=p.txt")
    assert ended.code == 2
    assert "2 rounds of 6 prompts need 12; there are 8" in ended.err
    assert "iterate.prompts_per_round" in ended.err


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "runs").glob("*.yaml")), ids=lambda f: f.stem)
def test_reinforcement_recipes_load(recipe: Path) -> None:
    load_settings(RLSettings, "rl", recipe, [], {}) if "accelerate" not in recipe.name else None
