"""Odds-ratio preference optimisation (Hong et al. 2024): supervised learning and preference in one loss, no reference
model.

With q(y) = exp(mean token log-prob), odds(y) = q / (1 - q) and m = log odds(chosen) - log odds(rejected) (equations 4
to 7):

    loss = -log q(chosen) + lambda * -(p log s(m) + (1 - p) log s(-m))
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.train.preferences import PairScores, soft_logistic


def orpo_loss(scores: PairScores, *, weight: float, hard: bool = False) -> Tensor:
    """[B]. `weight` is the paper's lambda; the supervised term is the mean over the chosen reply's tokens."""
    chosen_B = scores.chosen_B / scores.chosen_tokens_B
    rejected_B = scores.rejected_B / scores.rejected_tokens_B
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    return -chosen_B + weight * soft_logistic(log_odds(chosen_B) - log_odds(rejected_B), p_B)


def log_odds(logp_B: Tensor) -> Tensor:
    """log(q / (1 - q)) of q = exp(logp); q is kept one float step below 1, where the odds are infinite."""
    logp_B = logp_B.clamp(max=-torch.finfo(logp_B.dtype).eps)
    return logp_B - torch.log(-torch.expm1(logp_B))
