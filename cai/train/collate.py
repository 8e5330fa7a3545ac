"""Batches as the trainers see them: one flat dict of tensors, so that any host can move it to its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cai.train.batches import Attention, Group, make_rows, sharing_pays
from cai.train.tokens import Tokenised

Batch = dict[str, Any]
"""Tensors by name, and `ids`, the examples' names as a list of texts."""
NOT_FOR_THE_MODEL = ("cu_seqlens", "ends_S", "target_BK", "sizes_G", "margin_B", "ref_BK", "ids")
APART = "apart_"


@dataclass(frozen=True, slots=True)
class Collator:
    """Examples by their index to a batch. `reference` holds [examples, replies] log-probs, or is None.

    With `apart` the third reply of each example is laid out in rows of its own, under names that start with `apart_`.
    """

    items: Sequence[Tokenised]
    pad: int
    share: Literal["auto", "always", "never"]
    attention: Attention
    reference: Tensor | None = None
    apart: bool = False

    def __call__(self, features: Sequence[dict[str, int]]) -> Batch:
        indices = [feature["index"] for feature in features]
        items = [self.items[i] for i in indices]
        groups = [Group(i.group.prompt, i.group.replies[:2]) if self.apart else i.group for i in items]
        share = self.attention != "other" and (
            self.share == "always" or (self.share == "auto" and sharing_pays(groups))
        )
        rows = make_rows(groups, pad=self.pad, share=share, attention=self.attention)
        width = max(len(item.example.target) for item in items)
        target_BK = torch.zeros(len(items), width)
        for b, item in enumerate(items):
            target_BK[b, : len(item.example.target)] = torch.tensor(item.example.target)
        batch: Batch = {
            **rows.inputs(),
            "cu_seqlens": rows.cu_seqlens,
            "ends_S": rows.ends_S,
            "target_BK": target_BK,
            "sizes_G": torch.tensor([len(item.example.target) for item in items]),
            "margin_B": torch.tensor([item.example.margin or 0.0 for item in items]),
            "ids": [item.example.id for item in items],
        }
        if self.reference is not None:
            batch["ref_BK"] = self.reference[indices]
        if self.apart:
            thirds = [Group(item.group.prompt, item.group.replies[2:]) for item in items]
            alone = make_rows(thirds, pad=self.pad, share=False, attention=self.attention)
            batch |= {f"{APART}{k}": v for k, v in {**alone.inputs(), "cu_seqlens": alone.cu_seqlens}.items()}
        return batch


def model_inputs(batch: Batch) -> dict[str, Tensor]:
    """What the scored forward takes of a batch."""
    return {k: v for k, v in batch.items() if k not in NOT_FOR_THE_MODEL and not k.startswith(APART)}


def apart(batch: Batch) -> Batch:
    """The rows of the third replies as a batch of their own."""
    return {k.removeprefix(APART): v for k, v in batch.items() if k.startswith(APART)}


def reward_inputs(batch: Batch) -> dict[str, Tensor]:
    """What a reward model's forward takes: the end of each reply in place of its tokens."""
    body = {k: v for k, v in model_inputs(batch).items() if not k.startswith("score_")}
    return {**body, "score_at_N": batch["ends_S"]}


def sum_replies(logp_N: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Log-prob of each reply, [S]: the sum over its tokens, in float32 or wider."""
    lengths_S = cu_seqlens.diff().long()
    reply_N = torch.repeat_interleave(torch.arange(len(lengths_S), device=logp_N.device), lengths_S)
    wide_N = logp_N.to(torch.promote_types(logp_N.dtype, torch.float32))
    return wide_N.new_zeros(len(lengths_S)).index_add(0, reply_N, wide_N)
