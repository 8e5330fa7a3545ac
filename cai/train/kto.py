"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024): each reply is judged alone, against a common reference point.

With r = log pi/pi_ref of a reply and z the policy's distance from the reference, equation 8 has

    loss(desirable) = w_d (1 - s(beta (r - z))),    loss(undesirable) = w_u (1 - s(beta (z - r)))

z is estimated as in the paper from mismatched replies (this prompt with another prompt's reply): their mean log-ratio
over the whole step, clamped at zero and held constant. The host computes it before the step's first gradient, so that
the loss of a step does not depend on how it was split into micro-batches and processes. A pair gives a desirable and
an undesirable reply; a soft label is the expectation over which one is which. A pair's loss is the sum of its two
replies' losses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.train.preferences import PairScores, log_ratios


def kto_loss(
    scores: PairScores, *, beta: float, desirable: float = 1.0, undesirable: float = 1.0, hard: bool = False
) -> Tensor:
    """[B]. `scores.point_B` is z."""
    assert scores.point_B is not None, "KTO needs its reference point"
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    total_B = torch.zeros_like(scores.p_B)
    for ratio_B, good_B in zip(log_ratios(scores), (p_B, 1 - p_B), strict=True):
        gain_B = torch.sigmoid(beta * (ratio_B - scores.point_B))
        total_B = total_B + good_B * desirable * (1 - gain_B) + (1 - good_B) * undesirable * gain_B
    return total_B


def reference_point(total: float, count: int) -> float:
    """z from the sum of `count` mismatched replies' log-ratios."""
    return max(0.0, total / count)
