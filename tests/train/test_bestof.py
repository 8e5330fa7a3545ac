"""Best-of-N and rejection sampling keep what the reward model likes, never a cut-off or an empty reply."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from cai.engine.protocol import Sampling
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt, Samples
from cai.testbed.world import prompts
from cai.train.bestof import best_and_worst, choose, draw, kl_bound, rows_of, schema
from cai.train.examples import read_examples
from cai.train.rewarding import MEAN, STD, RewardModel, length_bias
from tests.cli.process import cai_here
from tests.train.conftest import tiny_model, tiny_tokenizer, write_rows

PROMPTS = [Prompt.of((Message(role="user", content=text),)) for text in ("how do i bake", "take the lamp")]


@pytest.fixture
def rewards(tmp_path: Path) -> RewardModel:
    """An ensemble of two random reward models with stored mean and deviation."""
    tiny_model().save_pretrained(tmp_path / "base")
    for number in (1, 2):
        torch.manual_seed(number)
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1, dtype=torch.float32)
        setattr(model.config, MEAN, 0.5)
        setattr(model.config, STD, 2.0)
        model.config.pad_token_id = 0
        model.save_pretrained(tmp_path / "run" / "reward" / f"model-{number}")
        tiny_tokenizer().save_pretrained(tmp_path / "run" / "reward" / f"model-{number}")
    return RewardModel.load(tmp_path / "run")


def samples(replies: tuple[str, ...], truncated: tuple[bool, ...], prompt: Prompt = PROMPTS[0]) -> Samples:
    return Samples(prompt=prompt, replies=replies, policy="p", temperature=1.0, seed=0, truncated=truncated)


def test_the_best_reply_of_each_prompt_is_kept(rewards: RewardModel) -> None:
    rows = [
        samples(("go", "no thanks", "bake bread please"), (False, False, False)),
        samples(("stop", "yes"), (False, False), PROMPTS[1]),
    ]
    scores = [rewards([r.prompt], [r.replies]).mean_S for r in rows]
    chosen = list(choose(rows, rewards, None))
    assert [c.reply for c in chosen] == [r.replies[int(s.argmax())] for r, s in zip(rows, scores, strict=True)]
    assert chosen[0].reward == pytest.approx(scores[0].max().item(), abs=1e-5)
    assert chosen[0].mean == pytest.approx(scores[0].mean().item(), abs=1e-5)
    assert chosen[0].spread > 0
    assert [c.drawn for c in chosen] == [3, 2]


def test_the_best_and_the_worst_reply_are_told_in_their_own_order(rewards: RewardModel) -> None:
    replies = ("go", "no thanks", "bake bread please", "yes")
    values = rewards([PROMPTS[0]], [replies]).mean_S
    ends = sorted((int(values.argmin()), int(values.argmax())))
    assert best_and_worst(PROMPTS[0], replies, rewards) == (replies[ends[0]], replies[ends[1]])


def test_a_threshold_keeps_every_different_reply_above_it(rewards: RewardModel) -> None:
    row = samples(("go", "no", "go", "bake bread"), (False,) * 4)
    values = rewards([row.prompt], [("go", "no", "bake bread")]).mean_S.tolist()
    kept = {c.reply for c in choose([row], rewards, sorted(values)[1])}
    assert kept == {text for text, v in zip(("go", "no", "bake bread"), values, strict=True) if v >= sorted(values)[1]}
    assert len(kept) == 2


def test_cut_off_and_empty_replies_are_never_kept(rewards: RewardModel) -> None:
    rows = [samples(("go", "", "yes"), (True, False, False)), samples(("no",), (True,), PROMPTS[1])]
    assert [c.reply for c in choose(rows, rewards, None)] == ["yes"]


def test_rewards_are_normalised_and_independent_of_company(rewards: RewardModel) -> None:
    alone = rewards([PROMPTS[0]], [["go"]]).mean_S
    among = rewards(PROMPTS, [["bake bread please take", "go"], ["no"]]).mean_S
    torch.testing.assert_close(among[1:2], alone, atol=1e-5, rtol=0)


def test_draws_have_seeds_of_their_own() -> None:
    engine = ScriptedEngine(lambda turns, sampling: f"reply {sampling.seed}")
    drawn = asyncio.run(draw(PROMPTS[0], engine, 4, Sampling(0), run_seed=1))
    assert len(set(drawn.replies)) == 4
    assert asyncio.run(draw(PROMPTS[0], engine, 4, Sampling(0), run_seed=1)).replies == drawn.replies


def test_what_is_kept_is_data_for_sft(rewards: RewardModel, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows_of(choose([samples(("go",), (False,))], rewards, None), "r", "p", 0))
    pq.write_table(pa.Table.from_pylist(rows, schema()), tmp_path / "sft.parquet")
    examples, _ = read_examples(tmp_path / "sft.parquet", "sft")
    assert examples[0].replies == ("go",)
    assert examples[0].prompt.id == PROMPTS[0].id


def test_the_command_on_the_tiny_model(tmp_path: Path) -> None:
    """A reward model of two steps, best of three for four requests, and the file as data; the same command is done."""
    import pyarrow.parquet as pq

    asked = [request.messages[0].content for request in prompts("train", 16, 0, ("benign",))]
    rows = [{"prompt": text, "chosen": "Ask a friend first.", "rejected": "No."} for text in asked]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    small = ("batch_size=8", "micro_batch=8", "max_steps=2", "eval_share=0")
    trained = cai_here("train", "reward", "-r", "taste", "-d", data, *small, cwd=tmp_path)
    assert trained.code == 0, trained.err
    sample = ("sample", "--reward", "taste", "--best-of", "3", "-r", "best", "--limit", "4", "--max-tokens", "24")
    first = cai_here(*sample, cwd=tmp_path)
    assert first.code == 0, first.err
    assert "KL from the policy: at most 0.43 nats" in first.out  # log 3 - 2/3
    file = tmp_path / "runs" / "best" / "sft.parquet"
    kept = pq.read_table(file).to_pylist()
    assert 0 < len(kept) <= 4  # a prompt whose draws were all cut off keeps none
    assert all(row["reward"] >= row["reward_mean"] and row["drawn"] == 3 for row in kept)
    before = file.read_bytes()
    assert cai_here(*sample, cwd=tmp_path).code == 0
    assert file.read_bytes() == before
    missing = cai_here("sample", "--reward", "nowhere", "-r", "other", cwd=tmp_path)
    assert missing.code == 2
    assert "there is no reward model" in missing.err


def test_numbers_by_hand() -> None:
    assert kl_bound(8) == pytest.approx(math.log(8) - 7 / 8)
    # rewards 1, 2, 3 against lengths 2, 4, 6: a perfect correlation
    assert length_bias(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 4, 6])) == pytest.approx(1.0)
    assert length_bias(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2, 4, 6])) == 0.0
