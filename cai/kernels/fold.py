"""The one operation an engine has to provide: walk the logits once and fold each row into two sums.

With z the logits and a shift per row, e = exp(z - shift) for every token but the row's target:

    sum_N    = sum over v != target of e
    moment_N = sum over v != target of e * (z - shift)              (when asked for)
    store_NC = e * slope of the soft-cap, 0 at the target           (when asked for; times the mix, if there is one)

Because the shift is known before the walk there is no running maximum and nothing to rescale: tiles just add, in any
order. Scores and all gradients are small per-row formulas around this; see `statistics.py` and `forward.py`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
