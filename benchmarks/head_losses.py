"""Losses that put per-token log-probs to use, as the benchmark's modes: pairs (DPO) and clipped ratios (GRPO).

Each is a function of log-probs for providers that return those, and the same thing as a loss in the loop for ours.
Everything it needs besides log-probs is random, seeded and known before: reference and old log-probs, advantages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BETA, CLIP = 0.1, 0.2


@dataclass(frozen=True, slots=True)
class Replies:
    """N tokens as S replies, an even number; with pairs, reply 2 b is chosen over 2 b + 1.

    Of 512 tokens, or 64 where there are few; where that does not divide the tokens, replies differ by one.
    """

    ends_S1: Tensor
    reference_S: Tensor
    """Log-probs of the replies under a reference, for pairs."""
    old_N: Tensor
    advantage_N: Tensor

    @classmethod
    def of(cls, targets_N: Tensor) -> Replies:
        """Random numbers of the size they have in training: 1.5 nats a token, advantages of deviation 1."""
        n, device = len(targets_N), targets_N.device
        count = 2 * max(1, n // (1024 if n >= 8191 else 128))
        ends_S1 = (torch.arange(count + 1) * n // count).int()
        random = torch.Generator().manual_seed(2)
        reference_S = -1.5 * ends_S1.diff() * (0.8 + 0.4 * torch.rand(count, generator=random))
        old_N = -3.0 * torch.rand(n, generator=random)
        advantage_S = torch.randn(count, generator=random)
        advantage_N = advantage_S.repeat_interleave(ends_S1.diff().long())
        return cls(*(t.to(device) for t in (ends_S1, reference_S, old_N, advantage_N)))

    @property
    def count(self) -> int:
        return len(self.reference_S)


def pairs_loss(sum_S: Tensor, reference_S: Tensor, count: int) -> Tensor:
    """Mean over `count` pairs of DPO's loss."""
    ratio_B2 = (sum_S - reference_S).view(-1, 2)
    return -F.logsigmoid(BETA * (ratio_B2[:, 0] - ratio_B2[:, 1])).sum() / count


def clipped_loss(logp_N: Tensor, old_N: Tensor, advantage_N: Tensor, count: int) -> Tensor:
    """Mean over `count` tokens of PPO's clipped surrogate, which GRPO shares."""
    ratio_N = (logp_N - old_N).exp()
    clipped_N = ratio_N.clamp(1 - CLIP, 1 + CLIP)
    return -torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N).sum() / count


def loss_of(mode: str, logp_N: Tensor, replies: Replies) -> Tensor:
    """The mode's loss on everybody's log-probs."""
    if mode == "grpo":
        return clipped_loss(logp_N, replies.old_N, replies.advantage_N, len(logp_N))
    lengths_S = replies.ends_S1.diff().long()
    reply_N = torch.repeat_interleave(torch.arange(replies.count, device=logp_N.device), lengths_S)
    sum_S = logp_N.double().new_zeros(replies.count).index_add(0, reply_N, logp_N.double())
    return pairs_loss(sum_S, replies.reference_S.double(), replies.count // 2)


def in_the_loop(mode: str, engine: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The mode's loss evaluated chunk by chunk."""
    from cai.kernels import LossChunk, fused_token_loss

    def score(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        replies, n = Replies.of(targets_N), len(targets_N)

        def local(chunk: LossChunk) -> tuple[Tensor, dict[str, Tensor]]:
            if mode == "mean":
                return chunk.logp_N.sum() / n, {}
            if mode == "grpo":
                return clipped_loss(chunk.logp_N, chunk.tokens["old"], chunk.tokens["advantage"], n), {}
            return pairs_loss(chunk.sum_S, chunk.sequences["reference"].double(), replies.count // 2), {}

        extra: dict[str, Any] = {}
        if mode == "grpo":
            extra = {"token_aux": {"old": replies.old_N, "advantage": replies.advantage_N}}
        if mode == "dpo":
            extra = {"cu_seqlens": replies.ends_S1, "sequences_per_group": 2}
            extra["sequence_aux"] = {"reference": replies.reference_S}
        return fused_token_loss(hidden_ND, weight_VD, targets_N, local, engine=engine, **extra)[0]

    return score
