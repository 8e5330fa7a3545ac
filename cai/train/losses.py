"""The table of losses: supervised, reward models, and the preference family by the field's names.

Everything here is a pure function of tensors and numbers. Shapes: N scored tokens, B pairs, G groups of K replies.
No function averages: a step divides the sum by its own count over all micro-batches and processes, because an average
of micro-batch averages is a different objective when they are ragged.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cai.train.dpo import dpo_loss
from cai.train.ipo import ipo_loss
from cai.train.kto import kto_loss
from cai.train.orpo import orpo_loss
from cai.train.preferences import soft_logistic
from cai.train.slic import slic_loss
from cai.train.sppo import sppo_loss

PREFERENCE = {
    "dpo": dpo_loss,
    "ipo": ipo_loss,
    "slic": slic_loss,
    "orpo": orpo_loss,
    "kto": kto_loss,
    "sppo": sppo_loss,
}
"""Name and loss of B pairs: `loss(PairScores, **numbers) -> [B]`."""


def sft_loss(logp_N: Tensor) -> Tensor:
    """Negative log-likelihood of each scored token, [N]."""
    return -logp_N


def bradley_terry_loss(chosen_B: Tensor, rejected_B: Tensor, p_B: Tensor, margin_B: Tensor | None = None) -> Tensor:
    """Cross-entropy of soft labels under Bradley-Terry (Bai et al. 2022b, section 4.1), [B].

    `margin_B` (Touvron et al. 2023, equation 2) is by how much the better reply should lead: it lowers the difference
    that the sigmoid sees when `chosen` is the better one and raises it when `rejected` is.
    """
    difference_B = chosen_B - rejected_B
    if margin_B is None:
        return soft_logistic(difference_B, p_B)
    return -(p_B * F.logsigmoid(difference_B - margin_B) + (1 - p_B) * F.logsigmoid(-difference_B - margin_B))


def best_of_k_loss(reward_GK: Tensor, target_GK: Tensor) -> Tensor:
    """Cross-entropy of "which of K replies is best" (Ziegler et al. 2019, equation 1), [G].

    `target_GK` is the probability that each reply is the best; a human's single choice is a one-hot row. Rows of
    fewer than K replies are padded with reward -inf and target 0.
    """
    logp_GK = F.log_softmax(reward_GK, dim=-1)
    return -torch.where(target_GK > 0, target_GK * logp_GK, torch.zeros_like(logp_GK)).sum(-1)


def centring_loss(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """(r_c + r_r)^2 (Eisenstein et al. 2023): keeps rewards around zero, which Bradley-Terry leaves free, [B]."""
    return (chosen_B + rejected_B) ** 2
