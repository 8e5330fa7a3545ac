"""A step's replies as padded tensors, and the forward pass that scores any part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cai.train.batches import Attention, Group, Rows, make_rows, sharing_pays
from cai.train.rl.rollout import Sample


@dataclass(frozen=True, slots=True)
class Experience:
    """One step's replies, prompt by prompt, K each: B = G * K rows, T tokens of the longest reply.

    `mask_BT` is 1 on reply tokens that count. A reply left out of the update (unread reward, cut off and dropped) has
    a zero row in `mask_BT` and its own mark in `kept_B`.
    """

    samples: tuple[Sample, ...]
    replies: int
    mask_BT: Tensor
    kept_B: Tensor
    reward_B: Tensor
    """Sum of all sources and terms, 0 where left out."""
    old_logp_BT: Tensor
    ref_logp_BT: Tensor
    value_BT: Tensor
    entropy_BT: Tensor
    advantage_BT: Tensor
    return_BT: Tensor
    weight_BT: Tensor
    """How much each token counts in the loss before the division by the step's count: importance correction and
    averaging.
    """
    wins_GKK: Tensor | None = None

    def index_of(self, groups: Sequence[int]) -> Tensor:
        """The rows of the given prompts' replies."""
        return torch.tensor([g * self.replies + k for g in groups for k in range(self.replies)], dtype=torch.long)

    def rows(self, groups: Sequence[int]) -> Experience:
        """The part that belongs to the given prompts."""
        index = self.index_of(groups)
        tensors = {
            name: getattr(self, name)[index]
            for name in self.__slots__
            if isinstance(getattr(self, name), Tensor) and name != "wins_GKK"
        }
        wins = None if self.wins_GKK is None else self.wins_GKK[torch.tensor(groups, dtype=torch.long)]
        return replace(self, samples=tuple(self.samples[i] for i in index.tolist()), wins_GKK=wins, **tensors)


def empty_experience(samples: Sequence[Sample], replies: int) -> Experience:
    """Masks and lengths from the samples; everything that has to be scored is zero."""
    T = max(len(s.reply_ids) for s in samples)
    mask_BT = torch.zeros(len(samples), T)
    for b, sample in enumerate(samples):
        mask_BT[b, : len(sample.reply_ids)] = 1.0
    zero_BT = torch.zeros_like(mask_BT)
    zero_B = torch.zeros(len(samples))
    return Experience(
        tuple(samples), replies, mask_BT, zero_B + 1.0, zero_B, *([zero_BT] * 6), weight_BT=mask_BT.clone()
    )


def engine_logp(samples: Sequence[Sample]) -> Tensor:
    """[B, T] log-probs as the engine that drew the replies saw them."""
    T = max(len(s.engine_logp) for s in samples)
    logp_BT = torch.zeros(len(samples), T)
    for b, sample in enumerate(samples):
        logp_BT[b, : len(sample.engine_logp)] = torch.tensor(sample.engine_logp)
    return logp_BT


def rows_of(samples: Sequence[Sample], replies: int, *, pad: int, attention: Attention) -> Rows:
    """Lay out whole groups for one forward pass, prompts shared where that pays."""
    groups = [
        Group(samples[i].prompt_ids, tuple(s.reply_ids for s in samples[i : i + replies]))
        for i in range(0, len(samples), replies)
    ]
    share = attention != "other" and sharing_pays(groups)
    return make_rows(groups, pad=pad, share=share, attention=attention)


def unpack(flat_N: Tensor, rows: Rows, T: int) -> Tensor:
    """Scored tokens [N] back to [B, T], zero on padding; differentiable."""
    lengths_S = rows.lengths.to(flat_N.device).long()
    reply_N = torch.repeat_interleave(torch.arange(len(lengths_S), device=flat_N.device), lengths_S)
    start_N = rows.cu_seqlens.to(flat_N.device).long()[:-1].repeat_interleave(lengths_S)
    column_N = torch.arange(len(flat_N), device=flat_N.device) - start_N
    out_BT = flat_N.new_zeros(len(lengths_S), T)
    return out_BT.index_put((reply_N, column_N), flat_N)
