"""What a step is measured by: means over its replies, and how far the engine's log-probs are from the trainer's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from cai.train.rl.advantages import kl_estimate
from cai.train.rl.experience import Experience, empty_experience, engine_logp
from cai.train.rl.rewards import Payment, repetition_term
from cai.train.rl.watch import distinct_ngrams

COUNTS = ("left_out", "unread", "flat_groups")
"""Measures that are counts: over several processes they add up."""


def measures(e: Experience, payment: Payment, kl_coefficient: float) -> dict[str, float]:
    """Means over this process's replies of the step; parts of the reward by name, before their weights."""
    tokens = e.mask_BT.sum().clamp(min=1.0)
    kl_B = (kl_estimate(e.old_logp_BT, e.ref_logp_BT, "k1") * e.mask_BT).sum(dim=1)
    kept = e.kept_B.sum().clamp(min=1.0)
    parts = {f"reward/{name}": mean(values) for name, values in payment.parts.items()}
    n = len(e.samples)
    return {
        "reward": mean(payment.total),
        **parts,
        "kl": float((kl_B * e.kept_B).sum() / kept),
        "kl_coefficient": kl_coefficient,
        "entropy": float((e.entropy_BT * e.mask_BT).sum() / tokens),
        "length": sum(len(s.reply_ids) for s in e.samples) / n,
        "ended": sum(s.ended for s in e.samples) / n,
        "repetition": sum(map(repetition_term, e.samples)) / n,
        "distinct_2": distinct_ngrams([s.text for s in e.samples], 2),
        "left_out": float(n - e.kept_B.sum()),
        "unread": float(sum(value is None for value in payment.total)),
        "flat_groups": _flat_groups(e),
    }


def _flat_groups(e: Experience) -> float:
    """Prompts whose replies were all paid alike, or beat one another alike: they teach a group method nothing."""
    merit_GK = e.reward_B.view(-1, e.replies)
    if e.wins_GKK is not None:
        merit_GK = (e.wins_GKK * (1.0 - torch.eye(e.replies))).sum(dim=2)
    read_G = e.kept_B.view(-1, e.replies).any(dim=1)
    return float(((merit_GK.amax(dim=1) == merit_GK.amin(dim=1)) & read_G).sum())


def parity(experience: Experience) -> dict[str, float]:
    """Engine against trainer: how far apart their log-probs of the same tokens are; stale weights show here."""
    every_token_BT = empty_experience(experience.samples, experience.replies).mask_BT.bool()
    gap_N = (experience.old_logp_BT - engine_logp(experience.samples))[every_token_BT]
    return {"parity_mean": float(gap_N.abs().mean()), "parity_max": float(gap_N.abs().max())}


def over_processes(values: dict[str, float], accelerator: Accelerator) -> dict[str, float]:
    """The same numbers in every process, so that all of them adapt and stop alike: means, or sums of counts.

    A process whose prompts have no measure of some name (of harmful requests, say) takes no part in that one's mean.
    """
    if accelerator.num_processes == 1:
        return values
    rows: list[dict[str, float]] = gather_object([values])
    columns = {name: [row[name] for row in rows if name in row] for row in rows for name in row}
    return {name: sum(v) if name in COUNTS else sum(v) / len(v) for name, v in columns.items()}


def mean(values: Sequence[float | None]) -> float:
    """Of those that were read; nan where none was."""
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else math.nan


def readable(values: Sequence[float | None]) -> tuple[float, ...]:
    """With nan for what was not read."""
    return tuple(math.nan if value is None else value for value in values)
