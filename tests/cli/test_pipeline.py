"""`cai run` and `cai demo`: stages in order, skipped when done, named when they fail, and going on after a kill."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cai.cli.pipeline import steps
from cai.cli.pipeline_recipe import Pipeline
from cai.cli.pipeline_steps import Step, StepFailed, run_steps
from cai.config import Settings, load_settings
from cai.config.iterate import IterateSettings
from cai.config.rl import RLSettings
from cai.config.run import RunSettings
from cai.config.train import TrainSettings
from cai.errors import CaiError
from cai.store import Interrupted
from cai.strict_yaml import load
from tests.cli.process import Ended, cai_here
from tests.cli.random_model import random_model

STAGES = ("critique", "sft", "label", "reward", "grpo", "evaluate")
HELD_OUT = "tests.cli.rl_rewards:short"
RECIPE = f"""
critique: {{split: train, limit: 8, rounds: 1, max_tokens: 40}}
sft: {{max_steps: 2, batch_size: 4, micro_batch: 4, eval_share: 0.0}}
label: {{split: train, limit: 6, max_tokens: 6, keep_truncated: true, canaries: 0.0}}
reward: {{max_steps: 2, batch_size: 4, micro_batch: 4, eval_share: 0.0}}
grpo:
  steps: 3
  limit: 8
  save_every: 1
  held_out: {HELD_OUT}
  rollout: {{prompts_per_step: 4, replies: 2, max_tokens: 6}}
  watch: {{prompts: 4}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model") / "random")


class Size(Settings):
    size: int = 1
    """Anything."""


def scripted(done: list[str], sizes: Sequence[int], fails: dict[str, CaiError]) -> list[Step]:
    """Steps that note their names, or fail."""

    def go(name: str) -> None:
        if name in fails:
            raise fails.pop(name)
        done.append(name)

    return [Step(name, Size(size=size), lambda name=name: go(name)) for name, size in zip("abc", sizes, strict=True)]


def test_steps_run_once_and_again_from_the_first_changed_one(tmp_path: Path) -> None:
    done: list[str] = []
    run_steps(tmp_path, scripted(done, (1, 1, 1), {}))
    run_steps(tmp_path, scripted(done, (1, 1, 1), {}))
    assert done == ["a", "b", "c"]
    run_steps(tmp_path, scripted(done, (1, 2, 1), {}))
    assert done == ["a", "b", "c", "b", "c"]


def test_a_step_that_reads_something_else_now_is_done_again_with_all_after_it(tmp_path: Path) -> None:
    done: list[str] = []
    run_steps(tmp_path, scripted(done, (1, 1, 1), {}))
    first, second, third = scripted(done, (1, 1, 1), {})
    run_steps(tmp_path, [first, replace(second, reads="another constitution"), third])
    assert done == ["a", "b", "c", "b", "c"]


def test_a_mistake_of_ours_keeps_its_traceback_and_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run_steps(tmp_path, [Step("sft", Size(), lambda: 1 // 0)])
    assert raised.value.__notes__ == ["stage sft failed; what is done is kept, and the same command goes on from there"]


def test_a_stage_starts_from_what_was_made_before_it_and_an_edited_constitution_is_noticed(tmp_path: Path) -> None:
    constitution = tmp_path / "own.yaml"
    constitution.write_text("name: own\nprinciples: [Be kind.]\n")
    stages = ["label", "grpo", "critique", "sft", "reward", "evaluate", "dpo"]

    def now() -> dict[str, Step]:
        settings = RunSettings.model_validate({"run": "p", "stages": stages, "constitution": str(constitution)})
        pipeline = Pipeline(settings, None, (), tmp_path)
        assert list(pipeline.models()) == ["base", "grpo", "sft"]
        return {step.name: step for step in steps(pipeline)}

    made = now()
    grpo, dpo = made["grpo"].settings, made["dpo"].settings
    assert isinstance(grpo, RLSettings)
    assert isinstance(dpo, TrainSettings)
    assert (grpo.model, grpo.rewards) == ("tiny", ["wins"])
    assert dpo.model == str(tmp_path / "p/sft/model")
    constitution.write_text("name: own\nprinciples: [Be cruel.]\n")
    assert [name for name, step in now().items() if step.reads != made[name].reads] == [
        "label", "grpo", "critique", "evaluate"
    ]  # fmt: skip


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_a_failure_names_its_stage_and_only_the_rest_is_done_later(tmp_path: Path, failing: str) -> None:
    done: list[str] = []
    with pytest.raises(
        StepFailed, match=f"stage {failing}: no space(.|\n)*mend it and give the same command"
    ) as failed:
        run_steps(tmp_path, scripted(done, (1, 1, 1), {failing: CaiError("no space")}))
    assert failed.value.exit_code == 1
    run_steps(tmp_path, scripted(done, (1, 1, 1), {}))
    assert done == ["a", "b", "c"]


def test_an_interruption_keeps_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="the same command goes on") as stopped:
        run_steps(tmp_path, scripted([], (1, 1, 1), {"b": Interrupted("stopped after step 3")}))
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("[sft]", "run.stages: sft needs what critique writes; put critique before it"),
        ("[critique, sft, reward]", "reward needs what label writes"),
        ("[critique, critique]", "critique is named twice"),
        ("[critique, evalute]", "did you mean"),
    ],
)
def test_an_impossible_order_is_told_before_anything_runs(tmp_path: Path, stages: str, said: str) -> None:
    ended = cai_here("run", f"run.stages={stages}", cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "runs").exists()


def run(model: Path, folder: Path, *more: str) -> Ended:
    (folder / "recipe.yaml").write_text(RECIPE)
    return cai_here("run", "recipe.yaml", "-m", str(model), "-r", "p", "run.eval_limit=6", *more, cwd=folder)


def test_the_whole_pipeline_keeps_what_is_done_when_a_stage_fails_and_ends_with_one_table(
    model: Path, tmp_path: Path
) -> None:
    broken = run(model, tmp_path, "grpo.held_out=tests.cli.rl_rewards:nobody")
    assert broken.code == 2
    assert "stage grpo: no reward function" in broken.err
    assert "what is done is kept" in broken.err
    ended = run(model, tmp_path)
    assert ended.code == 0, ended.err
    assert ended.err.count("done before") == 4
    table = (tmp_path / "runs/p/table.txt").read_text()
    assert table in ended.out
    assert table.splitlines()[0].split() == ["base", "SL-CAI", "RL-CAI", "(grpo)"]
    rows = [line.split("  ")[0] for line in table.splitlines()[2:]]
    assert "KL to the base, nats a reply" in rows
    assert "text the oracle could not read" in rows
    again = run(model, tmp_path)
    assert again.err.count("done before") == 5
    assert (tmp_path / "runs/p/table.txt").read_text() == table


@pytest.mark.slow
def test_a_kill_in_each_stage_changes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = run(model, tmp_path / "whole")
    assert whole.code == 0, whole.err
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "recipe.yaml").write_text(RECIPE)
    code = "import sys; sys.argv[0] = 'cai'; from cai.cli import main; main()"
    words = ["run", "recipe.yaml", "-m", str(model), "-r", "p", "run.eval_limit=6"]
    for stage in STAGES:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=cut, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert child.stderr is not None
        lines = iter(child.stderr.readline, "")
        assert any(line.rstrip().endswith(f"] {stage}") for line in lines), stage
        child.kill()
        child.wait()
        child.stderr.close()
    assert run(model, cut).code == 0
    for file in ("table.txt", "grpo/evaluations.jsonl"):
        assert (cut / "runs/p" / file).read_text() == (tmp_path / "whole/runs/p" / file).read_text(), file


@pytest.mark.slow
def test_the_demo_shows_the_loop_and_then_all_policies(tmp_path: Path) -> None:
    small = ["sft.max_steps=2", "reward.max_steps=2", "grpo.steps=2", "grpo.watch.prompts=4", "grpo.limit=32"]
    ended = cai_here("demo", "--limit", "12", *small, cwd=tmp_path)
    assert ended.code == 0, ended.err
    out = " ".join(ended.out.split())
    for said in ("harmful replies to harmful requests", "found a problem", "SL-CAI RL-CAI (grpo)", "KL to the base"):
        assert said in out, said
    assert "[6/6] evaluate" in ended.err
    assert ended.out.rstrip().endswith("written to runs/demo, a folder for each stage; table.txt")


RUNS = Path(__file__).parents[2] / "runs"


@pytest.mark.parametrize("recipe", [f for f in sorted(RUNS.glob("*.yaml")) if {"run"} & set(load(f).value or {})])
def test_pipeline_recipes_load(recipe: Path) -> None:
    settings = load_settings(RunSettings, "run", recipe, [], {})
    assert [name for name, _ in Pipeline(settings, recipe, (), Path("runs")).check()] == settings.stages


def test_the_recipe_of_rounds_loads() -> None:
    assert load_settings(IterateSettings, "iterate", RUNS / "iterate-tiny.yaml", [], {}).rounds == 3
