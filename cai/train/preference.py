"""The preference family on one host: log-probs of both replies, the frozen reference's from before the training, one
loss.

The loss is a function from `cai.train.losses.PREFERENCE` with its numbers filled in; the host knows nothing of which
one it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from cai.train.collate import Batch, Collator, apart, model_inputs, sum_replies
from cai.train.kto import reference_point
from cai.train.preferences import PairLoss, PairScores, log_ratios
from cai.train.stepping import Stepping
from cai.train.tally import Facts, mean_of


class PreferenceTrainer(Stepping, DPOTrainer):
    """TRL's trainer with our batches, our log-probs and a loss of ours."""

    pair_loss: PairLoss
    """Set right after construction."""
    _point: float = 0.0
    """KTO's reference point of this step."""

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Ours were computed once into the run, before the trainer was made."""
        return dataset

    def step_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Facts]:
        """Sum of the pairs' losses."""
        logp_S = sum_replies(model(**model_inputs(batch))["logp_N"], batch["cu_seqlens"])
        scores = pair_scores(logp_S, batch, self._point)
        loss_B = self.pair_loss(scores)
        point = {"reference_point": mean_of(scores.point_B)} if scores.point_B is not None and self._looks_ahead else {}
        return loss_B.sum(), {**pair_facts(scores), **point}

    @property
    def _looks_ahead(self) -> bool:
        return isinstance(self.data_collator, Collator) and self.data_collator.apart

    @torch.no_grad()
    def look_ahead(self, batches: Iterable[Batch]) -> None:
        """KTO's reference point over all micro-batches and processes of a step, under the weights it starts from."""
        if not self._looks_ahead:
            return
        model = self.model_wrapped if self.is_fsdp_enabled else self.model
        was_training, sums = model.training, torch.zeros(2, device=self.accelerator.device)
        model.eval()
        for inputs in batches:
            batch = self._prepare_inputs(inputs)
            third = apart(batch)
            with self.compute_loss_context_manager():
                logp_B = sum_replies(model(**model_inputs(third))["logp_N"], third["cu_seqlens"])
            sums += torch.stack([(logp_B - batch["ref_BK"][:, 2]).sum(), sums.new_tensor(float(len(logp_B)))])
        model.train(was_training)
        total, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._point = reference_point(total, int(count))


def pair_scores(logp_S: Tensor, batch: Batch, point: float = 0.0) -> PairScores:
    """Replies of all pairs, [S], as one record; S is 2 B, or 3 B with a third reply. `point` is KTO's."""
    size = len(batch["ids"])
    logp_BK = logp_S.view(size, -1)
    tokens_BK = batch["cu_seqlens"].diff().view(size, -1).to(logp_S.dtype)
    ref_BK = batch.get("ref_BK")
    ref_BK = torch.zeros_like(logp_BK) if ref_BK is None else ref_BK.to(logp_S.dtype)
    third = logp_BK.shape[1] == 3
    return PairScores(
        chosen_B=logp_BK[:, 0],
        rejected_B=logp_BK[:, 1],
        ref_chosen_B=ref_BK[:, 0],
        ref_rejected_B=ref_BK[:, 1],
        chosen_tokens_B=tokens_BK[:, 0],
        rejected_tokens_B=tokens_BK[:, 1],
        p_B=batch["target_BK"][:, 0].to(logp_S.dtype),
        extra_B=logp_BK[:, 2] if third else None,
        point_B=logp_BK.new_full((size,), point),
    )


@torch.no_grad()
def pair_facts(scores: PairScores) -> Facts:
    """Margin of the log-ratios in nats, how often it has the label's sign, and both log-ratios on their own.

    Undecided pairs (p = 1/2) have no right sign and count half.
    """
    chosen_B, rejected_B = log_ratios(scores)
    margin_B = chosen_B - rejected_B
    sure_B = (scores.p_B - 0.5).sign()
    return {
        "accuracy": mean_of((margin_B.sign() * sure_B + 1) / 2),
        "margin": mean_of(margin_B),
        "chosen": mean_of(chosen_B),
        "rejected": mean_of(rejected_B),
    }
