"""Policy and value losses of the RL methods: per-token values, summed by the caller over the whole step's count.

Nothing here averages: micro-batch averages of averages are wrong, so the caller divides sums by a denominator it knows
for the whole step. `B` replies, `T` tokens; masks are 1.0 on real reply tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clipped:
    """A clipped objective: the loss per token and where the clip held the gradient back (0 or 1 per token)."""

    loss_BT: Tensor
    clipped_BT: Tensor


def token_ratio(logp_BT: Tensor, old_logp_BT: Tensor) -> Tensor:
    """Importance ratio of each token, pi / pi_old."""
    return torch.exp(logp_BT - old_logp_BT)


def sequence_ratio(logp_BT: Tensor, old_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """One ratio a reply, the geometric mean over its tokens, on every token (GSPO, Zheng et al. 2025)."""
    count_B = mask_BT.sum(dim=1).clamp(min=1.0)
    log_B = ((logp_BT - old_logp_BT) * mask_BT).sum(dim=1) / count_B
    return torch.exp(log_B)[:, None].expand_as(logp_BT)


def clipped_policy(ratio_BT: Tensor, advantage_BT: Tensor, *, low: float, high: float) -> Clipped:
    """PPO's clipped surrogate (Schulman et al. 2017), negated: max of -r A and -clip(r, 1 - low, 1 + high) A."""
    plain_BT = -ratio_BT * advantage_BT
    held_BT = -torch.clamp(ratio_BT, 1.0 - low, 1.0 + high) * advantage_BT
    return Clipped(torch.maximum(plain_BT, held_BT), (held_BT > plain_BT).to(ratio_BT.dtype))


def clipped_value(values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, *, clip: float) -> Clipped:
    """Half the squared error of the value, never better than with its change since the rollout held within `clip`."""
    held_BT = old_values_BT + torch.clamp(values_BT - old_values_BT, -clip, clip)
    plain_BT = (values_BT - returns_BT) ** 2
    clipped_BT = (held_BT - returns_BT) ** 2
    return Clipped(0.5 * torch.maximum(plain_BT, clipped_BT), (clipped_BT > plain_BT).to(values_BT.dtype))


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over real tokens; nan where the returns do not vary."""
    keep = mask_BT.bool()
    returns_N, values_N = returns_BT[keep], values_BT[keep]
    if returns_N.numel() < 2 or float(returns_N.var()) == 0.0:
        return float("nan")
    return float(1.0 - (returns_N - values_N).var() / returns_N.var())
