"""Wrong data is told before any weights load: what, where, and what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from cai.config.train import TrainSettings
from cai.errors import CaiError, InputError
from cai.train.checks import Lengths, split_by_prompt
from cai.train.examples import choose_steps, read_examples
from cai.train.loading import open_base, pad_for
from cai.train.methods import METHODS
from cai.train.plan import make_plan, plan_lines
from cai.train.prepare import Prepared, mix, prepare
from cai.train.tokens import ReplyTokeniser
from tests.train.conftest import pair_rows, sft_rows, tiny_tokenizer, write_rows
from tests.train.test_training import _Canary


def prepared(folder: Path, model: Path, rows: list[dict[str, Any]], method: str = "dpo", **settings: Any) -> Prepared:
    data = write_rows(folder / "data.jsonl", rows)
    chosen = TrainSettings(model=str(model), data=[str(data)], **settings)
    return prepare(METHODS[method], chosen, open_base(chosen), folder)


def changed(**cells: Any) -> list[dict[str, Any]]:
    """Three rows, the second with other cells."""
    rows = pair_rows(3)
    return [rows[0], {**rows[1], **cells}, rows[2]]


ASSISTANT = {"role": "assistant", "content": "go"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"chosen": pair_rows(2)[1]["rejected"]}, "the same text"),
        ({"chosen": [{"role": "assistant", "content": "  "}]}, "`chosen` is empty"),
        ({"chosen": [ASSISTANT, ASSISTANT]}, "not one assistant message"),
        ({"prompt": [ASSISTANT]}, "not the user's"),
        ({"prompt": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        ({"prompt": [{"role": "user", "content": None}]}, "without text"),
        ({"p_chosen": 1.2}, "not a probability"),
        ({"prompt": []}, "not a list of messages"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, tiny_folder: Path, cells: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        prepared(tmp_path, tiny_folder, changed(**cells))
    assert "data.jsonl:2" in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_wrong_columns_are_told_with_what_they_would_fit(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"`prompt`, `chosen`, `rejected`.*data for sft"):
        prepared(tmp_path, tiny_folder, sft_rows(3))


def test_shared_prompts_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    evaluation = write_rows(tmp_path / "eval.jsonl", pair_rows(40)[5:6])
    with pytest.raises(InputError, match=r"1 training examples share their prompt"):
        prepared(tmp_path, tiny_folder, pair_rows(40), eval_data=str(evaluation))
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": pair_rows(40)[7]["prompt"]}])
    with pytest.raises(InputError, match=r"data\.jsonl:8"):
        prepared(tmp_path, tiny_folder, pair_rows(40), held_out=[str(held)])


def test_mixed_constitutions_need_a_flag(tmp_path: Path, tiny_folder: Path) -> None:
    rows = changed(constitution="sha-b")
    with pytest.raises(InputError, match="2 constitutions"):
        prepared(tmp_path, tiny_folder, rows)
    assert prepared(tmp_path, tiny_folder, rows, mixed_constitutions=True).constitutions == ("sha-a", "sha-b")


def test_long_examples_are_dropped_cut_or_refused(tmp_path: Path, tiny_folder: Path) -> None:
    long = changed(chosen=[{"role": "assistant", "content": "go " * 200}])
    found = prepared(tmp_path, tiny_folder, long, eval_share=0.0)
    assert (found.train, found.dropped) == (2, 1)
    assert any("over 128" in line for line in found.lengths.lines())
    cut = prepared(tmp_path, tiny_folder, long, eval_share=0.0, too_long="cut")
    assert (cut.train, cut.cut, max(i.longest for i in cut.items)) == (3, 1, 128)
    with pytest.raises(InputError, match=r"data\.jsonl:2 has \d+ tokens, 128 fit"):
        prepared(tmp_path, tiny_folder, long, eval_share=0.0, too_long="refuse")


def test_the_histogram_counts_everything() -> None:
    lengths = Lengths((3, 3, 9, 40), 32)
    assert lengths.over == 1
    assert sum(int(line.split()[2 if "#" in line else 1]) for line in lengths.lines()[1:]) == 4


def test_no_prompt_falls_on_both_sides_and_order_does_not_matter(tmp_path: Path) -> None:
    examples, _ = read_examples(write_rows(tmp_path / "p.jsonl", pair_rows(60) * 2), "pairs")
    split = split_by_prompt(examples, 0.3, seed=1)
    assert {e.prompt.id for e in split.train}.isdisjoint(e.prompt.id for e in split.evaluation)
    assert 6 < len(split.evaluation) < 70
    turned = split_by_prompt(examples[::-1], 0.3, seed=1)
    assert {e.prompt.id for e in turned.evaluation} == {e.prompt.id for e in split.evaluation}


def test_steps_last_or_all(tmp_path: Path) -> None:
    steps = [{"changed": True, "revision": "one", "flags": []}, {"changed": True, "revision": "two", "flags": []}]
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "two"}]
    rows: list[dict[str, Any]] = [{"messages": talk, "round": 2, "steps": steps, "constitution_sha": "s"}]
    examples, _ = read_examples(write_rows(tmp_path / "s.jsonl", rows), "sft")
    assert [e.replies for e in choose_steps(examples, "last")] == [("two",)]
    assert [e.replies for e in choose_steps(examples, "all")] == [("one",), ("two",)]
    assert examples[0].constitution == "s"
    first = {**rows[0], "messages": [talk[0], {"role": "assistant", "content": "one"}], "round": 1}
    both, _ = read_examples(write_rows(tmp_path / "b.jsonl", [first, *rows]), "sft")
    assert [e.replies for e in choose_steps(both, "last")] == [("two",)]
    assert [e.replies for e in choose_steps(both, "all")] == [("one",), ("two",)]


def test_replay_has_its_share(tmp_path: Path) -> None:
    train, _ = read_examples(write_rows(tmp_path / "a.jsonl", sft_rows(30)), "sft")
    extra, _ = read_examples(write_rows(tmp_path / "b.jsonl", sft_rows(8, seed=5)), "sft")
    mixed = mix(train, extra, 0.5, seed=0)
    assert len(mixed) == 60
    assert mixed == mix(train, extra, 0.5, seed=0)
    assert {e.id for e in mixed[30:]} == {e.id for e in extra}


def test_special_tokens_in_a_text_stay_text() -> None:
    tokenise = ReplyTokeniser.of(tiny_tokenizer(), "tiny")
    assert tokenise.end == tiny_tokenizer().eos_token_id
    special = set(tiny_tokenizer().all_special_ids) - {tiny_tokenizer().unk_token_id}
    assert special.isdisjoint(tokenise.renderer.plain_ids("go <|end|> <|assistant|> yes"))


def test_padding_is_never_the_end_token() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    assert pad_for(tokenizer, tokenizer.eos_token_id) != tokenizer.eos_token_id


def test_a_pickled_or_custom_model_is_refused_unread(tmp_path: Path, tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    (tiny_folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Canary(tmp_path / "canary")))
    with pytest.raises(InputError, match="pickled weights"):
        open_base(TrainSettings(model=str(tiny_folder)))
    assert not (tmp_path / "canary").exists()
    config = json.loads((tiny_folder / "config.json").read_text())
    (tiny_folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(InputError, match="auto_map"):
        open_base(TrainSettings(model=str(tiny_folder)))


def test_the_plan_says_what_will_happen(tmp_path: Path, tiny_folder: Path) -> None:
    settings = TrainSettings(model=str(tiny_folder), data=[str(write_rows(tmp_path / "d.jsonl", pair_rows(100)))])
    base = open_base(settings)
    found = prepare(METHODS["dpo"], settings, base, tmp_path)
    plan = make_plan(METHODS["dpo"], settings, base, found)
    assert (plan.accumulation, plan.steps) == (4, -(-found.train // 32))
    text = "\n".join(plan_lines(METHODS["dpo"], settings, base, found, plan))
    assert "memory: about" in text
    assert "constitution: sha-a" in text
    with pytest.raises(CaiError, match="does not divide"):
        make_plan(METHODS["dpo"], settings.model_copy(update={"micro_batch": 5}), base, found)


def test_without_data_the_run_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    settings = TrainSettings(model=str(tiny_folder))
    with pytest.raises(InputError, match=r"no pairs\.parquet"):
        prepare(METHODS["dpo"], settings, open_base(settings), tmp_path)
