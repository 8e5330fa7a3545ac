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
from cai.train.prepare import Prepared, mismatched, mix, prepare
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
        ({"p_chosen": -0.1}, "not a probability"),
        ({"p_chosen": float("nan")}, "`p_chosen` is nan, not a number"),
        ({"p_chosen": True}, "`p_chosen` is True, not a number"),
        ({"p_chosen": "0.9"}, "`p_chosen` is '0.9', not a number"),
        ({"p_chosen": None}, "`p_chosen` stands in some rows and not in others"),
        ({"margin": 0.5}, "`margin` stands in some rows and not in others"),
        ({"prompt": []}, "not a list of messages"),
        ({"chosen": [{"role": "assistant", "content": "go \ud800"}]}, "half a surrogate pair"),
        ({"target": [{"role": "user", "content": "go"}]}, "`target` is not one assistant message"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, tiny_folder: Path, cells: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        prepared(tmp_path, tiny_folder, changed(**cells))
    assert "data.jsonl:2" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_row_that_lacks_a_column_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    rows = pair_rows(3)
    del rows[2]["rejected"]
    with pytest.raises(InputError, match=r"data\.jsonl:3.*the row lacks columns"):
        prepared(tmp_path, tiny_folder, rows)


def test_lines_that_are_no_rows_are_named_and_empty_ones_passed_over(tmp_path: Path) -> None:
    good = json.dumps(pair_rows(1)[0]).encode()
    file = tmp_path / "odd.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\n\n" + good + b"\n")
    assert [e.id for e in read_examples(file, "pairs")[0]] == ["odd.jsonl:1", "odd.jsonl:3"]
    for line, said in (
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
    ):
        file.write_bytes(good + b"\n" + line + b"\n")
        with pytest.raises(InputError, match=rf"odd\.jsonl:2.*{said}"):
            read_examples(file, "pairs")
    file.write_bytes(b"")
    with pytest.raises(InputError, match="holds no rows"):
        read_examples(file, "pairs")


def test_a_broken_parquet_file_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(pair_rows(500)), file)
    whole = file.read_bytes()
    assert len(read_examples(file, "pairs")[0]) == 500
    for broken in (whole[: len(whole) // 2], whole[:200] + b"\0" * 400 + whole[600:], b""):
        file.write_bytes(broken)
        with pytest.raises(InputError, match="cannot be read"):
            read_examples(file, "pairs")


def test_pairs_without_p_are_hard_ones(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "p_chosen"} for row in pair_rows(3)]
    examples, _ = read_examples(write_rows(tmp_path / "p.jsonl", rows), "pairs")
    assert {e.target for e in examples} == {(1.0, 0.0)}


ASKED, GO, NO = {"role": "user", "content": "take the lamp"}, ASSISTANT, {"role": "assistant", "content": "no"}
SAID = "\n\nHuman: red\n\nAssistant: blue\n\nHuman: take the lamp\n\nAssistant:"


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "take the lamp", "chosen": "go", "rejected": "no"}, 1),
        ({"prompt": "take the lamp", "chosen": [ASKED, GO], "rejected": [ASKED, NO]}, 1),  # as UltraFeedback
        ({"prompt": [ASKED], "chosen": [ASKED, GO], "rejected": [NO]}, 1),
        ({"chosen": [ASKED, GO], "rejected": [ASKED, NO]}, 1),  # TRL's implicit prompt
        ({"chosen": f"{SAID} go", "rejected": f"{SAID} no"}, 3),  # as HH-RLHF
        ({"prompt": SAID, "chosen": "go", "rejected": "no"}, 3),
        ({"prompt": None, "chosen": f"{SAID} go", "rejected": f"{SAID} no"}, 3),
    ],
)
def test_pairs_of_public_files_are_read(tmp_path: Path, row: dict[str, Any], turns: int) -> None:
    ((example,), _) = read_examples(write_rows(tmp_path / "p.jsonl", [row]), "pairs")
    assert [m.role for m in example.prompt.messages] == ["user", "assistant", "user"][-turns:]
    assert example.prompt.messages[-1].content == "take the lamp"
    assert example.replies == ("go", "no")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chosen": "go", "rejected": "no"}, "no `prompt`, and `chosen` is a reply alone"),
        ({"chosen": [ASKED, GO], "rejected": [{**ASKED, "content": "go"}, NO]}, "differ before their last message"),
        ({"chosen": [ASKED, GO], "rejected": "no"}, "differ before their last message"),
        ({"prompt": "red", "chosen": [ASKED, GO], "rejected": [ASKED, NO]}, "`chosen` is not one assistant message"),
        ({"chosen": f"{SAID} go", "rejected": SAID}, "`rejected` is empty"),
        ({"chosen": f"{SAID} go", "rejected": f"{SAID} \ud800"}, "half a surrogate pair"),
    ],
)
def test_pairs_that_reply_to_nothing_or_to_two_things_are_told(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"p\.jsonl:1.*{said}"):
        read_examples(write_rows(tmp_path / "p.jsonl", [row]), "pairs")


def test_bad_rows_are_left_out_and_counted_where_that_is_asked_for(tmp_path: Path, tiny_folder: Path) -> None:
    rows = [*pair_rows(30), *({"prompt": "go", "chosen": "", "rejected": "no", "p_chosen": 1.0} for _ in range(12))]
    found = prepared(tmp_path, tiny_folder, rows, skip_bad_rows=True)
    assert (len(found.items), found.sources[0].rows, found.sources[0].skipped) == (30, 42, 12)
    with pytest.raises(InputError, match=r"skip_bad_rows=true"):
        prepared(tmp_path, tiny_folder, rows)
    with pytest.raises(InputError, match="`chosen` is empty"):
        prepared(tmp_path, tiny_folder, rows[30:], skip_bad_rows=True)


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    import gzip

    file = tmp_path / "p.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in pair_rows(3)).encode()))
    assert len(read_examples(file, "pairs")[0]) == 3


def test_hh_rlhf_is_read_whole(public_data: Path) -> None:
    file = public_data / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    examples, source = read_examples(file, "pairs", skip_bad_rows=True)
    assert (len(examples), source.rows, source.skipped) == (2303, 2312, 9)


@pytest.mark.parametrize("p_best", [[0.5, float("nan")], [0.5, 0.4], [1.5, -0.5], [True, False], ["a", "b"], [1.0]])
def test_a_list_of_odd_probabilities_is_refused(tmp_path: Path, p_best: list[Any]) -> None:
    row = {"prompt": "how do i bake", "replies": ["go", "no"], "p_best": p_best}
    with pytest.raises(InputError, match=r"lists\.jsonl:1.*`p_best`"):
        read_examples(write_rows(tmp_path / "lists.jsonl", [row]), "lists")


def test_settings_that_the_data_cannot_serve_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.jsonl:1 has no `margin`"):
        prepared(tmp_path, tiny_folder, pair_rows(3), "reward", reward_loss="margin")
    lists = [{"prompt": "how do i bake", "replies": ["go", "no"], "p_best": [0.5, 0.5]}]
    with pytest.raises(InputError, match="`hard` is for pairs"):
        prepared(tmp_path, tiny_folder, lists, "reward", reward_loss="best-of-k", hard=True)
    with pytest.raises(InputError, match="an early stop needs an evaluation"):
        prepared(tmp_path, tiny_folder, pair_rows(1), early_stop=2)
    with pytest.raises(InputError, match=r"context of 128 tokens.*train\.max_length to at most 128"):
        prepared(tmp_path, tiny_folder, pair_rows(3), max_length=512)
    with pytest.raises(InputError, match="two prompts"):
        prepared(tmp_path, tiny_folder, pair_rows(1), "kto")
    with pytest.raises(InputError, match="no example fits in 8 tokens"):
        prepared(tmp_path, tiny_folder, changed(), max_length=8, too_long="drop")


def test_a_reward_model_is_no_policy(tmp_path: Path, tiny_folder: Path) -> None:
    config = json.loads((tiny_folder / "config.json").read_text())
    changed = {**config, "architectures": ["LlamaForSequenceClassification"]}
    (tiny_folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="is a reward model"):
        prepared(tmp_path, tiny_folder, pair_rows(3))


def test_ktos_mismatched_reply_is_another_prompts(tmp_path: Path) -> None:
    first, second, third = pair_rows(3)
    rows = [first, {**first, "chosen": "stop"}, second, {**second, "chosen": "blue"}, third]
    examples, _ = read_examples(write_rows(tmp_path / "k.jsonl", rows), "pairs")
    chosen = [e.replies[0] for e in examples]
    assert mismatched(examples) == [chosen[2], chosen[2], chosen[4], chosen[4], chosen[0]]


def test_replies_that_are_the_same_once_cut_are_left_out(tmp_path: Path, tiny_folder: Path) -> None:
    long = "go " * 200
    alike = changed(chosen=f"{long} sure", rejected=f"{long} no")
    found = prepared(tmp_path, tiny_folder, alike, eval_share=0.0, too_long="cut")
    assert (found.train, found.cut, found.dropped) == (2, 0, 1)
    with pytest.raises(InputError, match=r"data\.jsonl:2 are the same tokens"):
        prepared(tmp_path, tiny_folder, changed(chosen="sure", rejected="sure "))


def test_replayed_prompts_are_not_evaluated_on(tmp_path: Path, tiny_folder: Path) -> None:
    rows = sft_rows(40)
    replay = write_rows(tmp_path / "replay.jsonl", sft_rows(60))
    found = prepared(tmp_path, tiny_folder, rows, "sft", replay=str(replay), eval_share=0.3)
    asked = [item.example.prompt.id for item in found.items]
    assert found.evaluation > 3
    assert set(asked[: found.train]).isdisjoint(asked[found.train :])
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": pair_rows(60)[50]["prompt"]}])
    with pytest.raises(InputError, match=r"replay\.jsonl:51"):
        prepared(tmp_path, tiny_folder, rows, "sft", replay=str(replay), held_out=[str(held)])


def test_a_held_out_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path, tiny_folder: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text('{"prompt": "go"}\n{\n')
    with pytest.raises(InputError, match=r"held\.jsonl:2"):
        prepared(tmp_path, tiny_folder, pair_rows(3), held_out=[str(held)])


def test_the_wrong_columns_are_told_with_what_they_would_fit(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"`chosen`, `rejected`, `prompt`.*data for sft"):
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
    short = settings.model_copy(update={"epochs": 0.3})
    assert make_plan(METHODS["dpo"], short, base, found).steps == 1  # 0.3 of 3 steps, begun ones whole
    text = "\n".join(plan_lines(METHODS["dpo"], settings, base, found, plan))
    assert "memory: about" in text
    assert "constitution: sha-a" in text
    with pytest.raises(CaiError, match="does not divide"):
        make_plan(METHODS["dpo"], settings.model_copy(update={"micro_batch": 5}), base, found)


def test_without_data_the_run_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    settings = TrainSettings(model=str(tiny_folder))
    with pytest.raises(InputError, match=r"no pairs\.parquet"):
        prepare(METHODS["dpo"], settings, open_base(settings), tmp_path)
