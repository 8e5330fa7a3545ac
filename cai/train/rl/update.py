"""Score a step's replies, and turn them into gradient steps whose size does not depend on how they are cut up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from cai.config.rl import RLSettings
from cai.errors import CaiError
from cai.seeds import seed_for
from cai.train.batches import Attention
from cai.train.rl.experience import Experience, rows_of, unpack
from cai.train.rl.method import Method, Scored
from cai.train.rl.policy import Reference


class NotFinite(CaiError):
    """A loss or gradient is not a finite number: the run stops with the prompts of the batch."""


@dataclass(frozen=True, slots=True)
class Learner:
    """The policy under training with all that a gradient step needs."""

    accelerator: Accelerator
    policy: Any
    """`Policy`, as accelerate prepared it."""
    reference: Reference
    optimizer: Any
    method: Method
    pad: int
    attention: Attention
    ptx_loss: Callable[[Any, int, int], Tensor] | None = None
    """Mean negative log-likelihood of the supervised batch of (step, minibatch): InstructGPT's pretraining mix."""


def score(learner: Learner, experience: Experience, settings: RLSettings) -> Experience:
    """Fill in old and reference log-probs, values and entropy, without gradient, a few prompts at a time."""
    filled: dict[str, Tensor] = {}
    with torch.no_grad():
        for groups in _micro_batches(experience, settings.update.micro_prompts):
            part = experience.rows(groups)
            rows, T = _lay_out(learner, part), part.mask_BT.shape[1]
            out = _forward(learner, rows, settings, entropy=True)
            reference_N = learner.reference(*_inputs(learner, rows), settings.rollout.temperature)
            for name, flat_N in {**out, "ref_logp_N": reference_N}.items():
                whole_BT = filled.setdefault(name, torch.zeros_like(experience.old_logp_BT))
                whole_BT[experience.index_of(groups)] = unpack(flat_N.float(), rows, T).cpu()
    return replace(
        experience,
        old_logp_BT=filled["logp_N"],
        ref_logp_BT=filled["ref_logp_N"],
        entropy_BT=filled["entropy_N"],
        value_BT=filled.get("value_N", experience.value_BT),
    )


def update(learner: Learner, experience: Experience, kl: float, settings: RLSettings, step: int) -> dict[str, float]:
    """All epochs and minibatches of one step; returns the means to log."""
    totals: dict[str, float] = defaultdict(float)
    norms: list[float] = []
    shape = settings.update
    for group in learner.optimizer.param_groups:
        group["lr"] = shape.learning_rate * min(1.0, (step + 1) / (shape.warmup_steps + 1))
    for epoch in range(shape.epochs):
        order = list(range(_groups(experience)))
        Random(seed_for(settings.seed, "minibatch", step, epoch)).shuffle(order)
        for index, groups in enumerate(_split(order, shape.minibatches)):
            part = experience.rows(groups)
            count = total_of(learner, learner.method.count(part))
            if count == 0.0:
                continue
            learner.optimizer.zero_grad()
            for name, value in _gradients(learner, part, kl, count, settings, step).items():
                totals[name] += value
            totals["count"] += count
            if learner.ptx_loss is not None and settings.ppo.ptx > 0.0:
                ptx = learner.ptx_loss(learner.policy, step, epoch * shape.minibatches + index)
                if not math.isfinite(float(ptx.detach())):
                    raise NotFinite(f"loss of the supervised mix is not finite at step {step}")
                learner.accelerator.backward(settings.ppo.ptx * ptx)
                totals["ptx_loss"] += float(ptx.detach()) * count
            norms.append(_descend(learner, part, shape.max_grad_norm))
    count = totals.pop("count", 0.0)
    means = {name: value / count for name, value in totals.items()} if count else {}
    return {**means, "grad_norm": sum(norms) / len(norms) if norms else 0.0, "updates": float(len(norms))}


def _gradients(
    learner: Learner, part: Experience, kl: float, count: float, settings: RLSettings, step: int
) -> dict[str, float]:
    """Accumulate the gradients of one minibatch over its micro-batches; returns the sums to log."""
    sums: dict[str, float] = defaultdict(float)
    micro = _micro_batches(part, settings.update.micro_prompts)
    for number, groups in enumerate(micro):
        piece = part.rows(groups)
        rows, T = _lay_out(learner, piece), piece.mask_BT.shape[1]
        with _sync(learner, last=number == len(micro) - 1):
            out = _forward(learner, rows, settings)
            value_BT = unpack(out["value_N"], rows, T) if "value_N" in out else None
            on_device = _moved(piece, out["logp_N"].device)
            loss = learner.method.loss(Scored(unpack(out["logp_N"].float(), rows, T), value_BT), on_device, kl)
            if not math.isfinite(float(loss.total.detach())):
                raise NotFinite(f"loss is not finite at step {step}; prompts {_prompts(piece)}")
            # DDP and FSDP average gradients over processes; the count is that of all of them.
            learner.accelerator.backward(loss.total * learner.accelerator.num_processes / count)
        for name, value in loss.parts.items():
            sums[name] += float(value)
    return sums


def _descend(learner: Learner, part: Experience, max_norm: float) -> float:
    """Clip and step; returns the norm before clipping."""
    parameters = [p for p in learner.policy.parameters() if p.requires_grad]
    norm = float(learner.accelerator.clip_grad_norm_(parameters, max_norm) or 0.0)
    if not math.isfinite(norm):
        raise NotFinite(f"gradient is not finite; prompts {_prompts(part)}")
    learner.optimizer.step()
    return norm


def _forward(learner: Learner, rows: Any, settings: RLSettings, *, entropy: bool = False) -> dict[str, Tensor]:
    return learner.policy(*_inputs(learner, rows), settings.rollout.temperature, entropy)


def _inputs(learner: Learner, rows: Any) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    device = learner.accelerator.device
    body = {name: value.to(device) for name, value in rows.body().items()}
    return body, rows.score_at_N.to(device), rows.score_targets_N.to(device)


def _lay_out(learner: Learner, part: Experience) -> Any:
    return rows_of(part.samples, part.replies, pad=learner.pad, attention=learner.attention)


def _moved(part: Experience, device: torch.device) -> Experience:
    tensors = {n: v.to(device) for n in part.__slots__ if isinstance(v := getattr(part, n), Tensor)}
    return replace(part, **tensors)


def _sync(learner: Learner, *, last: bool) -> AbstractContextManager[Any]:
    return nullcontext() if last else learner.accelerator.no_sync(learner.policy)


def total_of(learner: Learner, value: float) -> float:
    """The sum of every process's value."""
    if learner.accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value, device=learner.accelerator.device, dtype=torch.float64)
    return float(learner.accelerator.reduce(tensor, reduction="sum"))  # pyright: ignore[reportArgumentType]


def _groups(experience: Experience) -> int:
    return len(experience.samples) // experience.replies


def _micro_batches(experience: Experience, size: int) -> list[list[int]]:
    """The prompts, `size` at a time, those of like length together: a row is padded to the longest of its batch."""
    samples, K = experience.samples, experience.replies
    longest = [max(len(s.prompt_ids) + len(s.reply_ids) for s in samples[i : i + K]) for i in range(0, len(samples), K)]
    order = sorted(range(len(longest)), key=longest.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


def _split(items: list[int], parts: int) -> list[list[int]]:
    """`parts` slices whose sizes differ by at most one; fewer where there are fewer items."""
    edges = [round(i * len(items) / parts) for i in range(parts + 1)]
    return [items[a:b] for a, b in pairwise(edges) if b > a]


def _prompts(part: Experience) -> str:
    return ", ".join(sorted({sample.prompt.id for sample in part.samples})[:8])
