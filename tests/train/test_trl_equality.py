"""Our losses and TRL's, on the same random model and the same batch, through TRL's own `compute_loss`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from cai.train.batches import Group, make_rows
from cai.train.collate import sum_replies
from cai.train.losses import PREFERENCE, bradley_terry_loss, sft_loss
from cai.train.preferences import PairScores, soft_logistic
from cai.train.scoring import attach_logprobs, attach_rewards
from tests.train.conftest import pair_rows, tiny_model, tiny_tokenizer

COMMON = {"use_cpu": True, "bf16": False, "report_to": "none", "per_device_train_batch_size": 4, "max_length": None}


@pytest.fixture(scope="module")
def trl_dpo(tmp_path_factory: pytest.TempPathFactory) -> DPOTrainer:
    folder: Path = tmp_path_factory.mktemp("dpo")
    return DPOTrainer(
        model=tiny_model("qwen"),
        ref_model=tiny_model("qwen", seed=1),
        args=DPOConfig(str(folder), beta=0.3, gradient_checkpointing=False, **COMMON),
        train_dataset=Dataset.from_list(pair_rows(4)),
        processing_class=tiny_tokenizer(),
    )


def groups_of(rows: Dataset) -> list[Group]:
    return [Group(tuple(r["prompt_ids"]), (tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))) for r in rows]


def our_scores(groups: list[Group], p: float = 1.0) -> PairScores:
    """The same replies under the same two models, laid out with shared prompts."""
    found = []
    for seed in (0, 1):
        model = tiny_model("qwen", seed=seed)
        attach_logprobs(model)
        rows = make_rows(groups, pad=0, share=True)
        found.append(sum_replies(model(**rows.inputs())["logp_N"], rows.cu_seqlens).view(-1, 2))
    tokens = torch.tensor([[len(r) for r in g.replies] for g in groups]).float()
    (policy, reference), half = found, torch.full((len(groups),), p)
    return PairScores(*policy.unbind(1), *reference.unbind(1), *tokens.unbind(1), half)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("sigmoid", partial(PREFERENCE["dpo"], beta=0.3)),
        ("ipo", partial(PREFERENCE["ipo"], beta=0.3)),
        ("sppo_hard", partial(PREFERENCE["sppo"], beta=0.3)),
    ],
)
def test_preference_losses(trl_dpo: DPOTrainer, theirs: str, ours: object) -> None:
    trl_dpo.loss_types = [theirs]
    batch = trl_dpo.data_collator([trl_dpo.train_dataset[i] for i in range(4)])
    want = trl_dpo.compute_loss(trl_dpo.model, batch)
    got = ours(our_scores(groups_of(trl_dpo.train_dataset))).mean()  # type: ignore[operator]
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)


def test_soft_dpo_is_trls_smoothed_loss(trl_dpo: DPOTrainer) -> None:
    """TRL's `robust` loss is an affine function of the two directions: a soft label is one of them by hand."""
    scores = our_scores(groups_of(trl_dpo.train_dataset), p=0.8)
    trl_dpo.loss_types, trl_dpo.label_smoothing = ["robust"], 0.2
    batch = trl_dpo.data_collator([trl_dpo.train_dataset[i] for i in range(4)])
    robust = trl_dpo.compute_loss(trl_dpo.model, batch)
    forward, backward = (
        PREFERENCE["dpo"](our_scores(groups_of(trl_dpo.train_dataset), p), beta=0.3) for p in (1.0, 0.0)
    )
    torch.testing.assert_close(((0.8 * forward - 0.2 * backward) / 0.6).mean(), robust, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(PREFERENCE["dpo"](scores, beta=0.3), 0.8 * forward + 0.2 * backward)


def test_kto_follows_its_equation_given_a_reference_point(trl_dpo: DPOTrainer) -> None:
    """One desirable and one undesirable reply against a reference point of 2 nats."""
    scores = our_scores(groups_of(trl_dpo.train_dataset))
    ratio_c, ratio_r = scores.chosen_B - scores.ref_chosen_B, scores.rejected_B - scores.ref_rejected_B
    zeros = torch.zeros(4)
    with_point = PairScores(
        scores.chosen_B, scores.rejected_B, scores.ref_chosen_B, scores.ref_rejected_B,
        scores.chosen_tokens_B, scores.rejected_tokens_B, scores.p_B, zeros + 2.0, zeros,
    )  # fmt: skip
    want = 1 - torch.sigmoid(0.3 * (ratio_c - 2.0)) + 1 - torch.sigmoid(0.3 * (2.0 - ratio_r))
    torch.testing.assert_close(PREFERENCE["kto"](with_point, beta=0.3), want)


def test_supervised_loss(tmp_path: Path) -> None:
    rows = [{"prompt": r["prompt"], "completion": r["chosen"]} for r in pair_rows(4)]
    trainer = SFTTrainer(
        model=tiny_model("qwen"),
        args=SFTConfig(str(tmp_path), gradient_checkpointing=False, **COMMON),
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    want = trainer.compute_loss(trainer.model, dict(batch))
    groups = []
    for ids, labels in zip(trainer.train_dataset["input_ids"], trainer.train_dataset["labels"], strict=True):
        start = next(i for i, label in enumerate(labels) if label != -100)
        groups.append(Group(tuple(ids[:start]), (tuple(ids[start:]),)))
    model = tiny_model("qwen")
    attach_logprobs(model)
    got = sft_loss(model(**make_rows(groups, pad=0, share=False).inputs())["logp_N"]).mean()
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("margin", [None, 0.7])
def test_reward_loss(tmp_path: Path, margin: float | None) -> None:
    tiny_model("qwen").save_pretrained(tmp_path / "base")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1, dtype=torch.float32)
    rows = [{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in pair_rows(4)]
    rows = rows if margin is None else [{**r, "margin": margin} for r in rows]
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(str(tmp_path), gradient_checkpointing=False, **COMMON),
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    want = trainer.compute_loss(trainer.model.eval(), dict(batch))
    groups = [
        Group(tuple(c[:1]), (tuple(c[1:]), tuple(r[1:])))
        for c, r in zip(trainer.train_dataset["chosen_ids"], trainer.train_dataset["rejected_ids"], strict=True)
    ]
    attach_rewards(model)
    chosen, rejected = model(**make_rows(groups, pad=0, share=True).reward_inputs())["reward_S"].view(-1, 2).unbind(1)
    margin_B = None if margin is None else torch.full((4,), margin)
    got = bradley_terry_loss(chosen, rejected, torch.ones(4), margin_B).mean()
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)
    if margin is None:
        torch.testing.assert_close(got, soft_logistic(chosen - rejected, torch.ones(4)).mean())
