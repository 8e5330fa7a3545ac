"""Proximal policy optimisation with a value function (Schulman et al. 2017; Ziegler et al. 2019 for language)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cai.config.rl import RLSettings
from cai.train.processes import processes
from cai.train.rl.advantages import gae, kl_estimate, place_at_end, whiten
from cai.train.rl.experience import Experience
from cai.train.rl.losses import clipped_policy, clipped_value, token_ratio
from cai.train.rl.method import Compares, Loss, Scored


class PPO:
    """The KL to the reference is a cost at every token, the reward comes on the last one, GAE spreads both."""

    compares: Compares = "never"
    min_replies = 1

    def __init__(self, settings: RLSettings) -> None:
        self.critic: str | None = settings.ppo.critic
        self._ppo, self._update = settings.ppo, settings.update

    def credit(self, experience: Experience, kl: float) -> Experience:
        e, mask_BT = experience, experience.mask_BT
        cost_BT = kl * kl_estimate(e.old_logp_BT, e.ref_logp_BT, "k1") * mask_BT
        token_reward_BT = place_at_end(e.reward_B, mask_BT) - cost_BT
        if self._ppo.whiten_rewards:
            token_reward_BT = whiten(token_reward_BT, mask_BT, keep_mean=True, total=_over_processes)
        advantage_BT, return_BT = gae(
            token_reward_BT, e.value_BT * mask_BT, mask_BT, gamma=self._ppo.gamma, lam=self._ppo.lam
        )
        return replace(e, advantage_BT=whiten(advantage_BT, mask_BT, total=_over_processes), return_BT=return_BT)

    def count(self, experience: Experience) -> float:
        return float(experience.mask_BT.sum())

    def loss(self, scored: Scored, experience: Experience, kl: float) -> Loss:
        e = experience
        assert scored.value_BT is not None
        ratio_BT = token_ratio(scored.logp_BT, e.old_logp_BT)
        policy = clipped_policy(ratio_BT, e.advantage_BT, low=self._update.clip_low, high=self._update.clip_high)
        value = clipped_value(scored.value_BT, e.value_BT, e.return_BT, clip=self._ppo.value_clip)
        policy_loss = (policy.loss_BT * e.weight_BT * e.mask_BT).sum()
        value_loss = (value.loss_BT * e.mask_BT).sum()
        parts = {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "clip_share": (policy.clipped_BT * e.mask_BT).sum(),
            "value_clip_share": (value.clipped_BT * e.mask_BT).sum(),
        }
        return Loss(policy_loss + self._ppo.value_coefficient * value_loss, parts)


def _over_processes(sums: Tensor) -> Tensor:
    """The sum over all processes of the training: a step is whitened as a whole, however it is shared out."""
    state = processes()
    if state.num_processes == 1:
        return sums
    there = sums.to(state.device)
    torch.distributed.all_reduce(there)
    return there.to(sums.device)
