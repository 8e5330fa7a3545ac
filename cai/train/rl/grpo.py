"""Group-relative policy optimisation (Shao et al. 2024), with GSPO's sequence ratio (Zheng et al. 2025) as an
option.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from cai.config.rl import RLSettings
from cai.train.rl.advantages import group_advantages, kl_estimate
from cai.train.rl.experience import Experience
from cai.train.rl.losses import clipped_policy, sequence_ratio, token_ratio
from cai.train.rl.method import Compares, Loss, Scored


class GRPO:
    """The advantage is the reward relative to the prompt's other replies; the KL is a term of the loss."""

    critic: str | None = None
    compares: Compares = "never"
    min_replies = 2

    def __init__(self, settings: RLSettings) -> None:
        self._grpo, self._update, self._estimator = settings.grpo, settings.update, settings.kl.estimator

    def credit(self, experience: Experience, kl: float) -> Experience:
        rewards_GK = experience.reward_B.view(-1, experience.replies)
        return self._spread(experience, group_advantages(rewards_GK, scale=self._grpo.scale))

    def _spread(self, experience: Experience, advantage_GK: Tensor) -> Experience:
        e = experience
        weight_BT = e.weight_BT
        if self._grpo.normalise == "sequence":
            weight_BT = weight_BT / e.mask_BT.sum(dim=1, keepdim=True).clamp(min=1.0)
        return replace(e, advantage_BT=advantage_GK.reshape(-1, 1) * e.mask_BT, weight_BT=weight_BT)

    def count(self, experience: Experience) -> float:
        mask_BT = experience.mask_BT
        return float((mask_BT.sum(dim=1) > 0).sum() if self._grpo.normalise == "sequence" else mask_BT.sum())

    def loss(self, scored: Scored, experience: Experience, kl: float) -> Loss:
        e = experience
        if self._grpo.importance == "sequence":
            ratio_BT = sequence_ratio(scored.logp_BT, e.old_logp_BT, e.mask_BT)
        else:
            ratio_BT = token_ratio(scored.logp_BT, e.old_logp_BT)
        policy = clipped_policy(ratio_BT, e.advantage_BT, low=self._update.clip_low, high=self._update.clip_high)
        distance_BT = kl_estimate(scored.logp_BT, e.ref_logp_BT, self._estimator)
        weight_BT = e.weight_BT * e.mask_BT
        policy_loss = (policy.loss_BT * weight_BT).sum()
        kl_loss = (distance_BT * weight_BT).sum()
        parts = {
            "policy_loss": policy_loss.detach(),
            "kl_loss": kl_loss.detach(),
            "clip_share": (policy.clipped_BT * weight_BT).sum(),
        }
        return Loss(policy_loss + kl * kl_loss, parts)
