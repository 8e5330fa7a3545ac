"""REINFORCE leave-one-out (Ahmadian et al. 2024): a reply is one action, its baseline the prompt's other replies."""

from __future__ import annotations

from dataclasses import replace

from cai.config.rl import RLSettings
from cai.train.rl.advantages import kl_estimate, rloo_advantages
from cai.train.rl.experience import Experience
from cai.train.rl.losses import clipped_policy
from cai.train.rl.method import Compares, Loss, Scored


class RLOO:
    """The KL of the whole reply is a cost in its reward; the ratio is that of the whole reply."""

    critic: str | None = None
    compares: Compares = "never"
    min_replies = 2

    def __init__(self, settings: RLSettings) -> None:
        self._update = settings.update

    def credit(self, experience: Experience, kl: float) -> Experience:
        e = experience
        cost_B = kl * (kl_estimate(e.old_logp_BT, e.ref_logp_BT, "k1") * e.mask_BT).sum(dim=1)
        advantage_GK = rloo_advantages((e.reward_B - cost_B).view(-1, e.replies))
        return replace(e, advantage_BT=advantage_GK.reshape(-1, 1) * e.mask_BT)

    def count(self, experience: Experience) -> float:
        return float((experience.mask_BT.sum(dim=1) > 0).sum())

    def loss(self, scored: Scored, experience: Experience, kl: float) -> Loss:
        e = experience
        change_B1 = ((scored.logp_BT - e.old_logp_BT) * e.weight_BT * e.mask_BT).sum(dim=1, keepdim=True)
        policy = clipped_policy(
            change_B1.exp(), e.advantage_BT[:, :1], low=self._update.clip_low, high=self._update.clip_high
        )
        loss = policy.loss_BT.sum()
        return Loss(loss, {"policy_loss": loss.detach(), "clip_share": policy.clipped_BT.sum()})
