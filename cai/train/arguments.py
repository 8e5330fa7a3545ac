"""Our settings in the trainer's words. Everything a training should not do by itself is switched off here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cai.config.train import TrainSettings
from cai.train.plan import Plan
from cai.train.stepping import KEPT_CHECKPOINTS

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def arguments(settings: TrainSettings, plan: Plan, folder: Path, seed: int, *, evaluates: bool) -> dict[str, Any]:
    """Keyword arguments of `transformers.TrainingArguments` and of every TRL config."""
    cuda = torch.cuda.is_available()
    best = evaluates and (settings.keep_best or settings.early_stop > 0)
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": settings.micro_batch,
        "per_device_eval_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "max_steps": plan.steps,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": SCHEDULES[settings.schedule],
        "warmup_steps": round(settings.warmup * plan.steps),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "seed": seed,
        "data_seed": seed,
        "bf16": settings.precision == "bf16",
        "use_cpu": not cuda,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": plan.check_every,
        "save_strategy": "steps",
        "save_steps": plan.check_every,
        "save_total_limit": KEPT_CHECKPOINTS,
        "load_best_model_at_end": best,
        "metric_for_best_model": "eval_loss" if best else None,
        "greater_is_better": False if best else None,
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": cuda,
        "disable_tqdm": True,
        "report_to": list(settings.report_to) or "none",
        "ddp_find_unused_parameters": False,
    }
