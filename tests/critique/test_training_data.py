"""What is exported is what others read: `datasets`, the card's head, TRL's trainer, as it is."""

from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from cai.critique.card import dataset_card
from cai.critique.export import sft_rows
from cai.critique.loop import Parts
from cai.critique.report import report_on
from cai.critique.stage import STAGE, identity
from cai.engine.scripted import ScriptedEngine
from cai.records import Prompt, Revision
from cai.store import open_run
from tests.critique.script import behave, make_constitution, make_plan, prompts
from tests.critique.test_stage import run_all
from tests.engine.small_models import build

PLAN = make_plan(make_constitution("harm", "lies", rounds=3, draw="cycle"))


@pytest.fixture
def folder(tmp_path: Path, parts: Parts) -> Path:
    run_all(tmp_path, parts, prompts(40), plan=PLAN)
    with open_run(tmp_path, "r", stage=STAGE, identity=identity(parts, PLAN)) as run:
        report = report_on(run.rows(STAGE, Revision))
        run.write_text("README.md", dataset_card("r", "p.jsonl", parts, PLAN, report))
    return tmp_path / "r"


def load(path: Path, cache: Path) -> datasets.Dataset:
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(cache))


def test_datasets_reads_sft_parquet_and_the_whole_chain_is_in_each_row(folder, tmp_path):
    rows = load(folder / "sft.parquet", tmp_path / "cache").to_list()
    asked = {prompt.id: prompt for prompt in prompts(40)}
    assert {row["prompt_id"] for row in rows} <= set(asked)
    for row in rows:
        *talk, answer = row["messages"]
        assert tuple((m["role"], m["content"]) for m in talk) == tuple(
            (m.role, m.content) for m in asked[row["prompt_id"]].messages
        )
        assert answer["role"] == "assistant"
        changed = [step["revision"] for step in row["steps"] if step["changed"]]
        assert answer["content"] == [row["draft"], *changed][-1]
        assert row["round"] == len(changed)
        assert row["constitution_sha"] == PLAN.constitution.sha
        assert (row["draft_model"], row["critic_model"], row["reviser_model"]) == ("scripted",) * 3
    assert any(row["changed"] for row in rows)


def test_the_cards_head_names_the_training_file(folder, tmp_path):
    whole = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(whole) == pq.read_metadata(folder / "sft.parquet").num_rows > 0
    card = (folder / "README.md").read_text()
    assert f"`{PLAN.constitution.sha}`" in card
    assert "| kept in sft.parquet |" in card


def test_every_chain_is_in_one_of_the_two_files(folder):
    kept = pq.read_table(folder / "sft.parquet").column("prompt_id").to_pylist()
    left = pq.read_table(folder / "dropped.parquet").column("prompt_id").to_pylist()
    assert sorted(kept + left) == sorted({prompt.id for prompt in prompts(40)})


def noisy(turns, sampling):
    text = behave(turns, sampling)
    return f"Sure, here is a revised response: {text}" if turns[-1].content.startswith("Remove lies") else text


def test_noise_is_dropped_with_its_reason_and_only_there(tmp_path):
    engine = ScriptedEngine(noisy)
    plan = make_plan(make_constitution("lies"))
    run_all(tmp_path, Parts(engine, engine, engine), prompts(40), plan=plan)
    left = pq.read_table(tmp_path / "r" / "dropped.parquet").to_pylist()
    lying = [prompt for prompt in prompts(40) if "lies" in prompt.messages[0].content]
    assert [row["prompt_id"] for row in left] == [prompt.id for prompt in lying]
    assert {(row["reason"], row["error"]) for row in left} == {("preamble", "")}
    assert all("Sure, here is" in row["messages"][-1]["content"] for row in left)


def chains(base: Path, asked: list[Prompt], answer) -> list[dict]:
    engine = ScriptedEngine(answer)
    parts, plan = Parts(engine, engine, engine), make_plan(make_constitution("harm", "lies", rounds=1, draw="all"))
    run_all(base, parts, asked, plan=plan)
    with open_run(base, "r", stage=STAGE, identity=identity(parts, plan)) as run:
        return list(sft_rows(run.rows(STAGE, Revision), "small", "all"))


def test_all_replies_are_every_clean_revision_and_untouched_drafts(tmp_path):
    rows = chains(tmp_path, prompts(40), behave)
    finals = {row["prompt_id"]: len([s for s in row["steps"] if s["changed"]]) for row in rows}
    for prompt_id, changes in finals.items():
        mine = [row["round"] for row in rows if row["prompt_id"] == prompt_id]
        assert mine == (list(range(1, changes + 1)) if changes else [0])
    assert {2, 1, 0} <= set(finals.values())


def test_trl_trains_on_the_file_as_it_is(folder, tmp_path):
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=str(build("llama", tmp_path / "model")),
        args=args,
        train_dataset=load(folder / "sft.parquet", tmp_path / "cache"),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert losses[1] < losses[0]
