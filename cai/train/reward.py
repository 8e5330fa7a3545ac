"""Reward models from soft preferences: Bradley-Terry with the judge's probability, with a margin, or best of K.

A reward is read at the token that ends a reply. After training the rewards are shifted and scaled so that the
training replies have mean 0 and deviation 1 (Ziegler et al. 2019 need this to set the KL coefficient); both numbers
are stored in the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl.trainer.reward_trainer import RewardTrainer

from cai.train.collate import Batch, reward_inputs
from cai.train.losses import best_of_k_loss, bradley_terry_loss, centring_loss
from cai.train.stepping import Stepping
from cai.train.tally import Facts, mean_of


@dataclass(frozen=True, slots=True)
class RewardObjective:
    """Which loss, and the weight of the centring term."""

    best_of_k: bool = False
    margin: bool = False
    hard: bool = False
    centring: float = 0.0


class RewardModelTrainer(Stepping, RewardTrainer):
    """TRL's trainer with our batches and losses."""

    objective: RewardObjective
    """Set right after construction."""

    def step_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Facts]:
        """Sum of the examples' losses."""
        reward_S = model(**reward_inputs(batch))["reward_S"]
        if self.objective.best_of_k:
            return best_of_k_sum(reward_S, batch)
        return pairs_sum(reward_S, batch, self.objective)


def pairs_sum(reward_S: Tensor, batch: Batch, objective: RewardObjective) -> tuple[Tensor, Facts]:
    """Bradley-Terry over B pairs; rewards come as chosen, rejected, chosen, rejected …"""
    chosen_B, rejected_B = reward_S.view(-1, 2).unbind(1)
    p_B = batch["target_BK"][:, 0].to(reward_S.dtype)
    if objective.hard:
        p_B = torch.ones_like(p_B)
    margin_B = batch["margin_B"].to(reward_S.dtype) if objective.margin else None
    loss_B = bradley_terry_loss(chosen_B, rejected_B, p_B, margin_B)
    if objective.centring:
        loss_B = loss_B + objective.centring * centring_loss(chosen_B, rejected_B)
    difference_B = (chosen_B - rejected_B).detach()
    right_B = (difference_B.sign() * (p_B - 0.5).sign() + 1) / 2
    facts = {"accuracy": mean_of(right_B), "margin": mean_of(difference_B), "reward": mean_of(reward_S)}
    return loss_B.sum(), facts


def best_of_k_sum(reward_S: Tensor, batch: Batch) -> tuple[Tensor, Facts]:
    """Best of K over ragged groups: missing replies have reward -inf."""
    target_GK = batch["target_BK"].to(reward_S.dtype)
    sizes_G = batch["sizes_G"]
    present_GK = torch.arange(target_GK.shape[1], device=reward_S.device) < sizes_G[:, None]
    reward_GK = reward_S.new_full(target_GK.shape, float("-inf")).masked_scatter(present_GK, reward_S)
    loss_G = best_of_k_loss(reward_GK, target_GK)
    right_G = (reward_GK.argmax(-1) == target_GK.argmax(-1)).float()
    return loss_G.sum(), {"accuracy": mean_of(right_G), "reward": mean_of(reward_S)}
