"""What a preference loss may look at, and the one cross-entropy that soft labels come down to.

Shapes: B pairs. A log-prob of a reply is the sum over its tokens, in nats. `p_B` is the judge's probability that
`chosen` is the better reply; a hard label is p = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PairScores:
    """Log-probs of B pairs under the policy and, where the method has one, under the frozen reference."""

    chosen_B: Tensor
    rejected_B: Tensor
    ref_chosen_B: Tensor
    """Zeros where the method needs no reference."""
    ref_rejected_B: Tensor
    chosen_tokens_B: Tensor
    """Scored tokens of each reply, end-of-turn token included."""
    rejected_tokens_B: Tensor
    p_B: Tensor
    extra_B: Tensor | None = None
    """Log-prob of SLiC's supervised target, where the data has one."""
    point_B: Tensor | None = None
    """KTO's reference point in nats, the same for every pair of a step."""


PairLoss = Callable[[PairScores], Tensor]
"""From the scores of B pairs to B losses: not reduced, so that a step can be divided by its own number of pairs."""


def log_ratios(scores: PairScores) -> tuple[Tensor, Tensor]:
    """log pi/pi_ref of the chosen and of the rejected replies, [B] each."""
    return scores.chosen_B - scores.ref_chosen_B, scores.rejected_B - scores.ref_rejected_B


def soft_logistic(margin_B: Tensor, p_B: Tensor) -> Tensor:
    """Cross-entropy between the label p and sigma(margin): -(p log s(m) + (1 - p) log s(-m)), [B].

    At p = 1 it is the Bradley-Terry loss, at p = 0 the same with the replies exchanged, at p = 1/2 its minimum is m =
    0.
    """
    return -(p_B * F.logsigmoid(margin_B) + (1 - p_B) * F.logsigmoid(-margin_B))
