"""Identity preference optimisation (Azar et al. 2023): a squared distance instead of a sigmoid, so a margin is never
pushed without bound.

Equation 17 regresses the margin h of log-ratios on (I - 1/2) / beta, where I is one draw of "chosen is better"; its
expectation over I with probability p is, up to a constant,

    loss = (h - (p - 1/2) / beta)^2

and p = 1 gives the published (h - 1/(2 beta))^2. The log-ratios are means per token: the authors' own experiments use
means, and a sum would let the length of a reply set the scale of h.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.train.preferences import PairScores, log_ratios


def ipo_loss(scores: PairScores, *, beta: float, hard: bool = False) -> Tensor:
    """[B]. A smaller `beta` asks for a wider margin, in nats per token."""
    chosen_B, rejected_B = log_ratios(scores)
    margin_B = chosen_B / scores.chosen_tokens_B - rejected_B / scores.rejected_tokens_B
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    return (margin_B - (p_B - 0.5) / beta) ** 2
