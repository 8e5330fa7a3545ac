"""Supervised learning on revised replies (SL-CAI, Bai et al. 2022b, section 3): the mean log-likelihood of reply
tokens.

Only replies are learned; the prompt, the template and padding are context. The loss of a step is the sum over its
tokens divided by the number of its tokens, so a long reply weighs as much as it has tokens, whatever micro-batch it
fell into.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl.trainer.sft_trainer import SFTTrainer

from cai.train.collate import Batch, model_inputs
from cai.train.losses import sft_loss
from cai.train.stepping import Stepping
from cai.train.tally import Facts


class SupervisedTrainer(Stepping, SFTTrainer):
    """TRL's trainer with our batches and our log-probs."""

    def step_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Facts]:
        """Sum of the negative log-likelihoods of the scored tokens."""
        logp_N = model(**model_inputs(batch))["logp_N"]
        total = sft_loss(logp_N).sum()
        return total, {"nll": (total, len(logp_N)), "reply_tokens": (total.new_tensor(len(logp_N)), 1)}

    @staticmethod
    def step_count(batch: Batch) -> int:
        """Scored tokens."""
        return len(batch["score_targets_N"])
