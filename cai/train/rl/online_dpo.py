"""Online DPO (Guo et al. 2024): each step, the best and the worst fresh reply to a prompt become one soft pair."""

from __future__ import annotations

import torch
from torch import Tensor

from cai.config.rl import RLSettings
from cai.train.dpo import dpo_loss
from cai.train.preferences import PairScores
from cai.train.rl.experience import Experience
from cai.train.rl.method import Compares, Loss, Scored


class OnlineDPO:
    """The reference holds the policy by itself: there is no KL term besides beta."""

    critic: str | None = None
    compares: Compares = "may"
    min_replies = 2

    def __init__(self, settings: RLSettings) -> None:
        self._settings = settings.online_dpo

    def credit(self, experience: Experience, kl: float) -> Experience:
        return experience

    def count(self, experience: Experience) -> float:
        return float(self._pairs(experience)[3].sum())

    def loss(self, scored: Scored, experience: Experience, kl: float) -> Loss:
        best_G, worst_G, p_G, keep_G = self._pairs(experience)
        policy_B = (scored.logp_BT * experience.mask_BT).sum(dim=1)
        reference_B = (experience.ref_logp_BT * experience.mask_BT).sum(dim=1)
        tokens_B = experience.mask_BT.sum(dim=1)
        pairs = PairScores(
            chosen_B=policy_B[best_G],
            rejected_B=policy_B[worst_G],
            ref_chosen_B=reference_B[best_G],
            ref_rejected_B=reference_B[worst_G],
            chosen_tokens_B=tokens_B[best_G],
            rejected_tokens_B=tokens_B[worst_G],
            p_B=p_G,
        )
        loss_G = dpo_loss(pairs, beta=self._settings.beta, hard=not self._settings.soft)
        loss = (loss_G * keep_G).sum()
        return Loss(loss, {"policy_loss": loss.detach()})

    def _pairs(self, e: Experience) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows of the best and the worst reply of each prompt, p that the best is better, and whether they differ."""
        K = e.replies
        if e.wins_GKK is None:
            merit_GK = e.reward_B.view(-1, K)
        else:
            merit_GK = (e.wins_GKK * (1.0 - torch.eye(K))).sum(dim=2) / (K - 1)
        best_G, worst_G = merit_GK.argmax(dim=1), merit_GK.argmin(dim=1)
        row_G = torch.arange(len(merit_GK))
        if e.wins_GKK is None:
            gap_G = merit_GK[row_G, best_G] - merit_GK[row_G, worst_G]
            p_G = torch.sigmoid(self._settings.preference_scale * gap_G)
        else:
            p_G = e.wins_GKK[row_G, best_G, worst_G]
        kept_G = (e.mask_BT.sum(dim=1) > 0).view(-1, K).all(dim=1)
        differ_G = (merit_GK.amax(dim=1) > merit_GK.amin(dim=1)) & kept_G
        return row_G * K + best_G, row_G * K + worst_G, p_G, differ_G.to(p_G.dtype)
