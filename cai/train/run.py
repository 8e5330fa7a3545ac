"""One training from settings to a folder with a model, metrics, curves and a card. Resumes at its last checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback
from transformers.utils import logging as transformers_logging
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.reward_config import RewardConfig
from trl.trainer.sft_config import SFTConfig

from cai.config.train import TrainSettings
from cai.errors import CaiError
from cai.store import Interrupted
from cai.store.files import dump_json, write_text
from cai.train import checkpoints
from cai.train.agreement import agree
from cai.train.arguments import arguments
from cai.train.card import effects_of, model_card
from cai.train.collate import Collator, model_inputs
from cai.train.curves import CURVES, draw_curves
from cai.train.denormals import flushed_denormals
from cai.train.loading import Base, attention_of, load_policy, load_reward_model, lora, pad_for
from cai.train.methods import Method
from cai.train.plan import Plan
from cai.train.preference import PreferenceTrainer
from cai.train.prepare import Prepared
from cai.train.processes import processes
from cai.train.progress import MetricsLog, Show, StopAtStep, read_metrics, stop_on_signals
from cai.train.reference import compute_reference, read_reference, token_sha, write_reference
from cai.train.reward import RewardModelTrainer, RewardObjective
from cai.train.rewarding import MEAN, STD, length_bias, raw_rewards
from cai.train.scoring import attach_logprobs, attach_rewards, first_batch_agrees
from cai.train.sft import SupervisedTrainer
from cai.train.tokens import Tokenised

MODEL, ADAPTER = "model", "adapter"


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a training needs that was read and checked before any weights load."""

    method: Method
    settings: TrainSettings
    base: Base
    prepared: Prepared
    plan: Plan
    folder: Path

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on; a resumed training must agree in all of it."""
        paths = ("run", "model", "data", "eval_data", "replay", "held_out", "report_to")
        # How a step is computed changes its sums in the last digits only: one that ran out of memory may go on smaller.
        layout = ("micro_batch", "gradient_checkpointing", "share_prefix")
        return {
            "method": self.method.name,
            "settings": self.settings.model_dump(exclude={*paths, *layout}, mode="json"),
            "model": self.base.files.fingerprint,
            "tokens": token_sha(self.prepared.items),
            "constitutions": list(self.prepared.constitutions),
        }


def train(job: Job, show: Show) -> Path:
    """Train, or go on training, and return the finished model's folder (the first one of an ensemble)."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    job.folder.mkdir(parents=True, exist_ok=True)
    agree(job.folder, job.identity)
    members = job.settings.ensemble if job.method.kind == "reward" else 1
    if members == 1:
        return train_member(job, show, job.folder, job.settings.seed, job.folder / MODEL)
    finals = [
        train_member(job, show, job.folder / f"member-{n}", job.settings.seed + n, job.folder / f"{MODEL}-{n}")
        for n in range(1, members + 1)
    ]
    return finals[0]


def train_member(job: Job, show: Show, folder: Path, seed: int, final: Path) -> Path:
    """One model: the policy, or one member of an ensemble of reward models."""
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    resume = checkpoints.last_checkpoint(folder)
    with flushed_denormals():
        trainer = make_trainer(job, folder, seed)
    with stop_on_signals() as wish, flushed_denormals():
        step = 0 if resume is None else int(resume.name.removeprefix(checkpoints.PREFIX))
        if trainer.accelerator.is_main_process:
            trainer.add_callback(MetricsLog(folder, step, show))
        trainer.add_callback(StopAtStep(wish))
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        except torch.OutOfMemoryError as error:
            raise CaiError(
                f"the device ran out of memory at step {trainer.state.global_step + 1}: halve train.micro_batch or set "
                "train.gradient_checkpointing=true and give the same command again; it goes on from the last checkpoint"
            ) from error
    if wish.stopped and trainer.state.global_step < job.plan.steps:
        raise Interrupted(f"stopped after step {trainer.state.global_step}; the same command goes on from there")
    finish(job, trainer, folder, final)
    return final


def make_trainer(job: Job, folder: Path, seed: int) -> Any:
    """The host of the method with model, batches and loss in place."""
    settings, prepared = job.settings, job.prepared
    classifier = job.method.kind == "reward"
    model = load_start(job, seed)
    longest = max(item.longest for item in prepared.items)
    attention = attention_of(model, longest)
    pad = pad_for(job.base.tokenizer, job.base.tokenise.end)
    collate = Collator(prepared.items, pad, settings.share_prefix, attention)
    if not classifier:
        full = not head_agrees(model, collate, settings)
        if full:
            model = load_policy(job.base, settings)
            attach_logprobs(model, full_logits=True)
        if job.method.reference:
            reference = frozen_reference(job, model, collate)
            mismatched = job.method.third == "mismatched"
            collate = Collator(prepared.items, pad, settings.share_prefix, attention, reference, apart=mismatched)
    return host(job, model, collate, folder, seed)


def load_start(job: Job, seed: int) -> Any:
    """The model before training: the policy, or a reward model whose new head depends on `seed`."""
    reward = job.method.kind == "reward"
    return load_reward_model(job.base, job.settings, seed) if reward else load_policy(job.base, job.settings)


def host(job: Job, model: Any, collate: Collator, folder: Path, seed: int) -> Any:
    """TRL's trainer for the kind of method; ours is what it computes."""
    settings, prepared = job.settings, job.prepared
    rows = Dataset.from_dict({"index": list(range(len(prepared.items)))})
    common: dict[str, Any] = {
        "model": model,
        "data_collator": collate,
        "train_dataset": rows.select(range(prepared.train)),
        "eval_dataset": rows.select(range(prepared.train, len(rows))) if prepared.evaluation else None,
        "processing_class": job.base.tokenizer,
        "callbacks": [EarlyStoppingCallback(settings.early_stop)] if settings.early_stop else [],
        "peft_config": lora(settings, model, "SEQ_CLS" if job.method.kind == "reward" else "CAUSAL_LM"),
    }
    args = arguments(settings, job.plan, folder, seed, evaluates=prepared.evaluation > 0)
    if job.method.kind == "sft":
        return SupervisedTrainer(args=SFTConfig(**args, max_length=None), **common)
    if job.method.kind == "reward":
        trainer = RewardModelTrainer(args=RewardConfig(**args, max_length=None), **common)
        attach_rewards(trainer.model)
        kind = settings.reward_loss
        trainer.objective = RewardObjective(
            best_of_k=kind == "best-of-k",
            margin=kind == "margin",
            hard=settings.hard,
            centring=settings.reward_centring,
        )
        return trainer
    config = DPOConfig(**args, max_length=None, precompute_ref_log_probs=True)
    trainer = PreferenceTrainer(args=config, **common)
    trainer.pair_loss = job.method.pair_loss(settings)
    return trainer


def head_agrees(model: Any, collate: Collator, settings: TrainSettings) -> bool:
    """Attach the fused head and compare it with the model's own logits on the first examples; say so if it differs."""
    attach_logprobs(model)
    batch = collate([{"index": i} for i in range(min(2, len(collate.items)))])
    difference = first_batch_agrees(model, model_inputs(batch), tolerance=1e-3 if settings.precision == "fp32" else 0.2)
    if difference is None:
        return True
    print(
        f"warning: log-probs of the fused head differ from the model's own by {difference:.3g}; "
        "training on the model's own logits, which is slower",
        flush=True,
    )
    return False


def frozen_reference(job: Job, model: Any, collate: Collator) -> torch.Tensor:
    """The reference's log-probs: those of an earlier start of this training, else computed now."""
    made_with = {"model": job.base.files.fingerprint, "tokens": token_sha(job.prepared.items)}
    found = read_reference(job.folder, made_with)
    if found is not None:
        return found
    ref_BK = compute_reference(
        model,
        job.prepared.items,
        pad=collate.pad,
        share=collate.share,
        attention=collate.attention,
        size=2 * job.settings.micro_batch,
        bf16=job.settings.precision == "bf16",
    )
    if processes().is_main_process:
        write_reference(job.folder, ref_BK, made_with)
    processes().wait_for_everyone()
    return ref_BK


def finish(job: Job, trainer: Any, folder: Path, final: Path) -> None:
    """Write the model (an adapter merged into its base), the curves and the card; the model's name appears last."""
    accelerator = trainer.accelerator
    # What a sharded model computes, and its whole weights, need every process; the rest is the first one's.
    extra = normalisation(job, trainer) if job.method.kind == "reward" else {}
    state_dict = accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return
    model = accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / ADAPTER, state_dict=state_dict)
        adapted = model if state_dict is None else load_adapted(job, folder / ADAPTER)
        model, state_dict = adapted.merge_and_unload(), None
    if job.method.kind == "reward":
        setattr(model.config, MEAN, extra["reward_mean"])
        setattr(model.config, STD, extra["reward_std"])
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, state_dict=state_dict)
    job.base.tokenizer.save_pretrained(partial)
    rows = read_metrics(folder)
    draw_curves(rows, partial / CURVES, f"cai train {job.method.name}")
    effects = effects_of(rows, trainer.state.best_global_step if trainer.args.load_best_model_at_end else None)
    card = model_card(job.method, job.settings, job.prepared, job.plan, effects, job.base.files.fingerprint, extra)
    (partial / "README.md").write_text(card, "utf-8")
    write_text(folder / "result.json", dump_json({"first": effects.first, "last": effects.last, **extra}))
    shutil.copyfile(partial / CURVES, folder / CURVES)
    checkpoints.finish(partial, final)
    accelerator.wait_for_everyone()


def load_adapted(job: Job, adapter: Path) -> Any:
    """The base with a saved adapter, whole in this process: a sharded one cannot be merged by one process alone."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_start(job, job.settings.seed), adapter)


def normalisation(job: Job, trainer: Any) -> dict[str, float]:
    """Mean and deviation of the training replies' rewards, and the length bias on held-out ones."""
    prepared = job.prepared
    reward_S = rewards_of(trainer, prepared.items[: prepared.train], job.settings)
    held = prepared.items[prepared.train :]
    held_S = rewards_of(trainer, held, job.settings) if held else reward_S
    length_S = torch.tensor([len(reply) for item in held or prepared.items for reply in item.group.replies])
    return {
        "reward_mean": reward_S.mean().item(),
        "reward_std": max(reward_S.std().item(), 1e-6),
        "length_bias": length_bias(held_S, length_S),
    }


def rewards_of(trainer: Any, items: Sequence[Tokenised], settings: TrainSettings) -> torch.Tensor:
    """Raw rewards [replies in order of items]; every process makes as many calls, as a sharded model must."""
    size, collate = 2 * settings.micro_batch, trainer.data_collator
    chunks = [items[i : i + size] for i in range(0, len(items), size)]
    with trainer.accelerator.split_between_processes(list(range(len(chunks))), apply_padding=True) as mine:
        found = [(n, raw_rewards(trainer.model, chunks[n], collate.pad, collate.attention, size)) for n in mine]
    table = dict(gather_object(found))
    return torch.cat([table[n] for n in range(len(chunks))])
