"""One batch to score: hidden rows, the head, the targets, and how raw dot products become logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cai.kernels.logit_map import LogitMap


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in: float64 for float64, else float32."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """Row n of `hidden_ND` is scored against target n over all of `weight_VD`: padding has been cut off."""

    hidden_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    targets_N: Tensor
    logit_map: LogitMap

    @property
    def n(self) -> int:
        return self.hidden_ND.shape[0]

    @property
    def vocab(self) -> int:
        return self.weight_VD.shape[0]

    @property
    def wide(self) -> torch.dtype:
        return wide_dtype(self.hidden_ND.dtype)

    def rows(self, start: int, end: int) -> HeadBatch:
        """A view of rows start..end."""
        return replace(self, hidden_ND=self.hidden_ND[start:end], targets_N=self.targets_N[start:end])

    def take(self, index_K: Tensor) -> HeadBatch:
        """A copy of the named rows."""
        return replace(self, hidden_ND=self.hidden_ND[index_K], targets_N=self.targets_N[index_K])

    def new_wide(self, *shape: int) -> Tensor:
        """Zeros in the dtype of sums."""
        return self.hidden_ND.new_zeros(shape, dtype=self.wide)


def put_target(tile_NC: Tensor, targets_N: Tensor, first_column: int, value_N: Tensor | float) -> None:
    """Write `value_N` at each row's target, where the target lies in this tile of columns. Needs no synchronisation."""
    local_N = targets_N.long() - first_column
    inside_N = (local_N >= 0) & (local_N < tile_NC.shape[1])
    at_N1 = local_N.clamp(0, tile_NC.shape[1] - 1)[:, None]
    old_N = tile_NC.gather(1, at_N1)[:, 0]
    value = torch.as_tensor(value_N, dtype=tile_NC.dtype, device=tile_NC.device)
    tile_NC.scatter_(1, at_N1, torch.where(inside_N, value.to(tile_NC.dtype), old_N)[:, None])
