"""SLiC-HF (Zhao et al. 2023): rank the two replies by a margin, and stay near a supervised target.

Equation 3 with both of its terms, on log-probs of whole replies and without a reference model:

    loss = max(0, delta - log pi(chosen) + log pi(rejected)) - lambda log pi(target)

`target` is the supervised reply to the same prompt where the data has one, else the chosen reply. A soft label weighs
the rank term of each direction by its probability, which at p = 1 is the published loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cai.train.preferences import PairScores


def slic_loss(scores: PairScores, *, delta: float, weight: float, hard: bool = False) -> Tensor:
    """[B]. `delta` is the margin in nats, `weight` the paper's lambda of the calibration term."""
    margin_B = scores.chosen_B - scores.rejected_B
    p_B = torch.ones_like(scores.p_B) if hard else scores.p_B
    rank_B = p_B * F.relu(delta - margin_B) + (1 - p_B) * F.relu(delta + margin_B)
    target_B = scores.chosen_B if scores.extra_B is None else scores.extra_B
    return rank_B - weight * target_B
