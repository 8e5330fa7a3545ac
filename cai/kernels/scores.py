"""What scoring tokens returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TokenScores(NamedTuple):
    """Per scored token, float32 (float64 for float64 inputs); what was not asked for is None.

    `logp_N` log-probability of each target, never above 0; `entropy_N` of the distribution it was drawn from, in nats;
    `lse_N` log-sum-exp of the logits; `sum_S` float64 sums of `logp_N` over the segments of `cu_seqlens`.
    """

    logp_N: Tensor
    entropy_N: Tensor | None = None
    lse_N: Tensor | None = None
    sum_S: Tensor | None = None
