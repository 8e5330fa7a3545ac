"""Self-play preference optimisation (Wu et al. 2024): every reply's log-ratio is regressed on how often it wins.

Equation 4.7 with eta = 1 / beta, the win rate of a reply estimated by the judge's probability in its pair:

    loss = (r(chosen) - (p - 1/2) / beta)^2 + (r(rejected) - (1/2 - p) / beta)^2
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.train.preferences import PairScores, log_ratios


def sppo_loss(scores: PairScores, *, beta: float, hard: bool = False) -> Tensor:
    """[B]. Unlike the difference losses it fixes both log-ratios, so the chosen reply cannot sink with the rejected."""
    chosen_B, rejected_B = log_ratios(scores)
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    return (chosen_B - (p_B - 0.5) / beta) ** 2 + (rejected_B - (0.5 - p_B) / beta) ** 2
