"""What an engine provides: above all, to walk the logits once and fold each row into two sums.

With z the logits and a shift per row, e = exp(z - shift) for every token but the row's target:

    sum_N    = sum over v != target of e
    moment_N = sum over v != target of e * (z - shift)              (when asked for)
    store_NC = e * slope of the soft-cap, 0 at the target           (when asked for; times the mix, if there is one)

Because the shift is known before the walk there is no running maximum and nothing to rescale: tiles just add, in any
order. Scores and all gradients are small per-row formulas around this; see `statistics.py` and `forward.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch


class FoldSums(NamedTuple):
    """Per row, in the wide dtype; `moment_N` is empty when it was not asked for."""

    sum_N: Tensor
    moment_N: Tensor


class Mix(NamedTuple):
    """Stored entries become e * (base + slope * (z - shift)): what the gradient of an entropy needs."""

    base_N: Tensor
    slope_N: Tensor


class Fold(Protocol):
    """Columns first..last of the batch's vocabulary."""

    def __call__(
        self,
        batch: HeadBatch,
        first: int,
        last: int,
        shift_N: Tensor,
        *,
        store_NC: Tensor | None = None,
        moment: bool = False,
        mix: Mix | None = None,
    ) -> FoldSums: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """One implementation of the walk and of the two small operations beside it.

    `dots` gives exact logits [N, K] of tokens named per row, NaN for an id outside the vocabulary; `scale` multiplies
    rows and rounds once. `native`: it stores tiles in the inputs' dtype also on a CPU, where others keep them wide.
    """

    name: str
    fold: Fold
    dots: Callable[[HeadBatch, Tensor], Tensor]
    scale: Callable[[Tensor, Tensor, torch.dtype], Tensor]
    native: bool

    def target_logits(self, batch: HeadBatch) -> Tensor:
        """[N] logits of the targets."""
        return self.dots(batch, batch.targets_N[:, None])[:, 0]
