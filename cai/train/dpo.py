"""Direct preference optimisation (Rafailov et al. 2023), with the judge's probability as the label.

DPO reads a reward off the policy, r(x, y) = beta log pi(y|x)/pi_ref(y|x), and fits it by Bradley-Terry. The paper's
equation 7 is the case p = 1; with a soft label the same model is fitted to the probability instead of to its argmax:

    loss = -(p log s(m) + (1 - p) log s(-m)),    m = r(x, chosen) - r(x, rejected)

so a pair the judge is unsure about (p near 1/2) pulls its margin to zero rather than apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.train.preferences import PairScores, log_ratios, soft_logistic


def dpo_loss(scores: PairScores, *, beta: float, hard: bool = False) -> Tensor:
    """[B]. `beta` is the strength of the pull to the reference; `hard` takes the chosen reply as better for certain."""
    chosen_B, rejected_B = log_ratios(scores)
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    return soft_logistic(beta * (chosen_B - rejected_B), p_B)
