"""Our losses and TRL's, on the same random model and the same batch, through TRL's own `compute_loss`."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from cai.train.batches import Group, make_rows
from cai.train.collate import sum_replies
from cai.train.kto import reference_point
from cai.train.losses import PREFERENCE, bradley_terry_loss, sft_loss
from cai.train.preferences import PairScores, soft_logistic
from cai.train.scoring import attach_logprobs, attach_rewards
from tests.train.conftest import pair_rows, tiny_model, tiny_tokenizer

KINDS = ("chosen", "rejected")
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


def scored(groups: list[Group], seed: int) -> Tensor:
    """Log-probs of all replies under one of the two models."""
    model = tiny_model("qwen", seed=seed)
    attach_logprobs(model)
    rows = make_rows(groups, pad=0, share=False)
    return sum_replies(model(**rows.inputs())["logp_N"], rows.cu_seqlens)


def test_kto_through_trls_own_trainer(tmp_path: Path) -> None:
    """TRL's batch of eight is four pairs; its reference point is the mean over its own eight mismatched replies."""
    pairs = pair_rows(4)
    unpaired = [{"prompt": r["prompt"], "completion": r[k], "label": k == "chosen"} for k in KINDS for r in pairs]
    batch_of_8 = {**COMMON, "per_device_train_batch_size": 8, "train_sampling_strategy": "sequential"}
    trainer = KTOTrainer(
        model=tiny_model("qwen"),
        ref_model=tiny_model("qwen", seed=1),
        args=KTOConfig(str(tmp_path), beta=0.3, desirable_weight=1.3, gradient_checkpointing=False, **batch_of_8),
        train_dataset=Dataset.from_list(unpaired),
        processing_class=tiny_tokenizer(),
    )
    rows = [trainer.train_dataset[i] for i in range(8)]
    want = trainer.compute_loss(trainer.model, dict(trainer.data_collator(rows)))
    replies = [Group(tuple(r["prompt_ids"]), (tuple(r["completion_ids"]),)) for r in rows]
    mismatched = [Group(tuple(r["prompt_ids"]), (tuple(r["KL_completion_ids"]),)) for r in rows]
    policy, reference = (scored(replies, seed) for seed in (0, 1))
    ratios = scored(mismatched, 0) - scored(mismatched, 1)
    point = torch.full((4,), reference_point(ratios.sum().item(), 8))
    ours = PairScores(
        policy[:4], policy[4:], reference[:4], reference[4:], *torch.ones(3, 4).unbind(), point_B=point
    )  # fmt: skip
    got = PREFERENCE["kto"](ours, beta=0.3, desirable=1.3).sum() / 8
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)


@pytest.fixture
def random_scores() -> PairScores:
    """Mean log-probs between -4 and 0 as those of one-token replies."""
    generator = torch.Generator().manual_seed(0)
    drawn = [-4 * torch.rand(16, generator=generator) for _ in range(4)]
    return PairScores(*drawn, *torch.ones(3, 16).unbind())


def test_orpo_odds_ratio_term_on_random_tensors(random_scores: PairScores) -> None:
    """TRL's method on a stand-in for its trainer, which it asks for two numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    asked = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    chosen, rejected = random_scores.chosen_B, random_scores.rejected_B
    term, *_ = ORPOTrainer.odds_ratio_loss(asked, chosen, rejected)
    # Their supervised term runs over prompt and reply, ours over the reply as in the paper: it is left out of both.
    torch.testing.assert_close(PREFERENCE["orpo"](random_scores, weight=0.4) + chosen, -term)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_slic_rank_term_is_the_hinge_without_a_reference(random_scores: PairScores, beta: float) -> None:
    """TRL has no SLiC-HF; the hinge of its CPO, beta (1 / beta - m), is the rank term at delta = 1 / beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.cpo.cpo_trainer import CPOTrainer
    asked = SimpleNamespace(
        beta=beta, alpha=0.0, loss_type="hinge", label_smoothing=0.0, accelerator=SimpleNamespace(device="cpu")
    )
    want, *_ = CPOTrainer.cpo_loss(asked, random_scores.chosen_B, random_scores.rejected_B)
    got = beta * PREFERENCE["slic"](random_scores, delta=1 / beta, weight=0.0)
    torch.testing.assert_close(got, want)


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
