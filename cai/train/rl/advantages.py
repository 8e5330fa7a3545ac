"""From rewards to advantages: pure functions of padded tensors, one per method.

`B` replies, `T` tokens of the longest reply, `G` prompts, `K` replies a prompt. Masks are 1.0 on real reply tokens and
0.0 on padding, which may stand anywhere; no value under a zero mask changes a result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def whiten(
    values_BT: Tensor,
    mask_BT: Tensor,
    *,
    keep_mean: bool = False,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> Tensor:
    """Zero mean and unit variance over the masked positions; padding becomes zero. `keep_mean` only rescales.

    `total` adds sums up over whoever has the other replies of the step.
    """
    count = total(mask_BT.sum()).clamp(min=1.0)
    mean = total((values_BT * mask_BT).sum()) / count
    variance = total(((values_BT - mean) ** 2 * mask_BT).sum()) / count
    scaled_BT = (values_BT - mean) * torch.rsqrt(variance + 1e-8)
    return (scaled_BT + mean if keep_mean else scaled_BT) * mask_BT


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016) over each reply; returns advantages and value targets.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lambda A_{t+1}, the value after a reply's last real
    token being zero. Padding stands after the reply.
    """
    B, T = rewards_BT.shape
    advantage_B = rewards_BT.new_zeros(B)
    next_value_B = rewards_BT.new_zeros(B)
    columns: list[Tensor] = []
    for t in reversed(range(T)):
        live_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        advantage_B = live_B * (delta_B + gamma * lam * advantage_B)
        next_value_B = live_B * values_BT[:, t]
        columns.append(advantage_B)
    advantages_BT = torch.stack(columns[::-1], dim=1) if columns else rewards_BT.new_zeros(B, 0)
    return advantages_BT, (advantages_BT + values_BT) * mask_BT


def group_advantages(rewards_GK: Tensor, *, scale: bool = True) -> Tensor:
    """Reward minus its prompt's mean, over its prompt's standard deviation (GRPO, Shao et al. 2024).

    A group whose replies all score alike teaches nothing: its advantages are exactly zero (`measures` counts such
    groups). Without `scale` the difference from the mean is kept (Liu et al. 2025).
    """
    centred_GK = rewards_GK - rewards_GK.mean(dim=1, keepdim=True)
    flat_G = (rewards_GK.amax(dim=1) - rewards_GK.amin(dim=1)) == 0.0
    if scale:
        centred_GK = centred_GK / (rewards_GK.std(dim=1, keepdim=True) + 1e-4)
    return centred_GK.masked_fill(flat_G[:, None], 0.0)


def rloo_advantages(rewards_GK: Tensor) -> Tensor:
    """Reward minus the mean of the other replies to the same prompt (Ahmadian et al. 2024); needs K >= 2."""
    K = rewards_GK.shape[1]
    if K < 2:
        raise ValueError("leave-one-out needs at least two replies a prompt")
    return (rewards_GK - rewards_GK.mean(dim=1, keepdim=True)) * (K / (K - 1))


def spo_advantages(wins_GKK: Tensor) -> Tensor:
    """Average preference over the other replies to the prompt, minus the even chance (Swamy et al. 2024).

    `wins_GKK[g, i, j]` is the probability that reply i beats reply j; the diagonal is ignored.
    """
    K = wins_GKK.shape[1]
    if K < 2:
        raise ValueError("self-play needs at least two replies a prompt")
    off_KK = 1.0 - torch.eye(K, dtype=wins_GKK.dtype, device=wins_GKK.device)
    return (wins_GKK * off_KK).sum(dim=2) / (K - 1) - 0.5


def kl_estimate(logp_BT: Tensor, ref_logp_BT: Tensor, kind: str) -> Tensor:
    """Per-token estimates of KL(policy || reference) from the policy's own samples (Schulman 2020).

    k1 = log pi/ref (unbiased, may be negative); k2 = half its square; k3 = e^{-k1} - 1 + k1 (unbiased, never negative).
    """
    k1_BT = logp_BT - ref_logp_BT
    if kind == "k1":
        return k1_BT
    if kind == "k2":
        return 0.5 * k1_BT**2
    if kind == "k3":
        return torch.expm1(-k1_BT) + k1_BT
    raise ValueError(f"unknown KL estimator {kind!r}: k1, k2 or k3")


def place_at_end(score_B: Tensor, mask_BT: Tensor) -> Tensor:
    """A sequence's score as a token reward on its last real token, zero elsewhere; an empty reply gets none."""
    T = mask_BT.shape[1]
    steps_T = torch.arange(1, T + 1, device=mask_BT.device, dtype=mask_BT.dtype)
    last_B = (mask_BT * steps_T).argmax(dim=1)
    rewards_BT = torch.zeros_like(mask_BT)
    rewards_BT.scatter_(1, last_B[:, None], score_B[:, None].to(mask_BT.dtype))
    return rewards_BT * mask_BT
