"""What a training will do, before it does it: steps, tokens, memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cai.config.train import TrainSettings
from cai.errors import InputError
from cai.train.batches import Group, sharing_pays
from cai.train.loading import Base
from cai.train.methods import Method
from cai.train.prepare import Prepared
from cai.train.tokens import Tokenised


@dataclass(frozen=True, slots=True)
class Plan:
    """The batch plan. Token counts are per pass over the training examples."""

    accumulation: int
    steps_per_epoch: int
    steps: int
    check_every: int
    learning_rate: float
    shared: bool
    forward_tokens: int
    """Positions the model computes, padding left out."""
    scored_tokens: int
    memory_bytes: int
    seconds: float


def make_plan(method: Method, settings: TrainSettings, base: Base, prepared: Prepared, processes: int = 1) -> Plan:
    """Raises InputError where the batch does not divide into micro-batches."""
    per_pass = settings.micro_batch * processes
    if settings.batch_size % per_pass:
        raise InputError(
            f"a batch of {settings.batch_size} does not divide into {processes} x {settings.micro_batch} examples",
            "make train.batch_size a multiple of train.micro_batch times the number of processes",
        )
    items = prepared.items[: prepared.train]
    steps_per_epoch = -(-len(items) // settings.batch_size)
    steps = settings.max_steps or math.ceil(steps_per_epoch * settings.epochs)
    groups = [item.group for item in items]
    shared = settings.share_prefix == "always" or (settings.share_prefix == "auto" and sharing_pays(groups))
    forward = sum(_positions(g, shared) for g in groups)
    scored = sum(len(r) for g in groups for r in g.replies)
    flops = (6 * steps / steps_per_epoch + 2 * method.reference) * forward * base.parameters
    return Plan(
        accumulation=settings.batch_size // per_pass,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        check_every=settings.check_every or max(1, steps // 10),
        learning_rate=method.learning_rate(settings, base.parameters),
        shared=shared,
        forward_tokens=forward,
        scored_tokens=scored,
        memory_bytes=estimate_memory(settings, base, items, shared),
        seconds=flops / (device_flops() * processes),
    )


def _positions(group: Group, shared: bool) -> int:
    replies = sum(len(r) for r in group.replies)
    return replies + len(group.prompt) * (1 if shared else len(group.replies))


def estimate_memory(settings: TrainSettings, base: Base, items: Sequence[Tokenised], shared: bool) -> int:
    """Peak bytes of one process: weights, gradients, AdamW's two moments, activations of the longest micro-batch.

    Activations are counted as 34 values a position, layer and hidden unit without recomputation (Korthikanti et al.
    2022, without the attention matrix that SDPA does not keep), one a layer with it.
    """
    text: dict[str, Any] = base.files.config.get("text_config") or base.files.config
    hidden, layers = int(text.get("hidden_size", 1024)), int(text.get("num_hidden_layers", 24))
    trained = base.parameters if not settings.lora_rank else layers * 14 * hidden * settings.lora_rank
    weights = base.parameters * (2 if settings.lora_rank and settings.precision == "bf16" else 4)
    widest = sorted((_positions(i.group, shared) for i in items), reverse=True)[: settings.micro_batch]
    per_value = 2 if settings.precision == "bf16" else 4
    per_position = layers * hidden * (2 if settings.gradient_checkpointing else 34) * per_value
    return weights + trained * 12 + sum(widest) * per_position + 256 * 2**20


def device_flops() -> float:
    """Floating point operations per second that a training reaches here, from a fifth of a second of products.

    A training reaches about half of a large product's rate.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 4096 if device == "cuda" else 384
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    float((a @ a)[0, 0])
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < 0.2:
        float((a @ a)[0, 0])
        done += 1
    return 0.5 * done * 2 * size**3 / (time.perf_counter() - started)


def plan_lines(method: Method, settings: TrainSettings, base: Base, prepared: Prepared, plan: Plan) -> list[str]:
    """The plan for people, one line each."""
    scored = plan.scored_tokens / max(1, plan.forward_tokens)
    dropped = f", {prepared.dropped} left out and {prepared.cut} cut for their length"
    skipped = sum(source.skipped for source in prepared.sources)
    return [
        f"{method.name}: {method.help}",
        f"model {settings.model}: {base.parameters:,} parameters, context {base.limit:,} tokens",
        f"data: {prepared.train:,} examples to train on, {prepared.evaluation:,} to evaluate on"
        + (dropped if prepared.dropped or prepared.cut else "")
        + (f", {skipped} rows that cannot be read left out" if skipped else ""),
        "constitution: " + (", ".join(sha[:12] for sha in prepared.constitutions) or "not stated in the data"),
        *prepared.lengths.lines(),
        f"batch: {settings.batch_size} examples = {plan.accumulation} x {settings.micro_batch} on each process",
        f"steps: {plan.steps:,} ({plan.steps_per_epoch:,} an epoch), a checkpoint every {plan.check_every:,}",
        f"learning rate: {plan.learning_rate:g}, {settings.schedule}, warm-up {settings.warmup:.0%}",
        f"tokens: {plan.forward_tokens:,} computed per epoch, {plan.scored_tokens:,} scored ({scored:.0%})"
        + (", prompts computed once for all their replies" if plan.shared else ""),
        f"memory: about {plan.memory_bytes / 2**30:.1f} GiB at the peak",
        f"time: about {_duration(plan.seconds)} on this machine",
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
