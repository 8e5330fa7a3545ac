"""Between the caller's tensors and a batch: rows are gathered on the way in, gradients are added up on the way out."""

from __future__ import annotations

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch, wide_dtype
from cai.kernels.logit_map import LogitMap


def make_batch(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    row_index_N: Tensor | None,
    logit_map: LogitMap,
    valid_vocab: int,
) -> HeadBatch:
    """Gather the rows that are scored and cut the vocabulary's padding off."""
    hidden_ND = hidden_MD if row_index_N is None else hidden_MD.index_select(0, row_index_N.int())
    if hidden_ND.stride(-1) != 1:
        hidden_ND = hidden_ND.contiguous()
    weight_VD = weight_VD[:valid_vocab] if weight_VD.stride(-1) == 1 else weight_VD[:valid_vocab].contiguous()
    bias_V = None if bias_V is None else bias_V[:valid_vocab].to(wide_dtype(hidden_MD.dtype)).contiguous()
    return HeadBatch(hidden_ND.detach(), weight_VD.detach(), bias_V, targets_N.contiguous(), logit_map)


def to_rows(grad_ND: Tensor, hidden_MD: Tensor, row_index_N: Tensor | None) -> Tensor:
    """The gradient of the hidden rows, from that of the scored ones."""
    return grad_ND.to(hidden_MD.dtype) if row_index_N is None else add_rows(grad_ND, hidden_MD, row_index_N)


def add_rows(grad_N: Tensor, like_M: Tensor, index_N: Tensor) -> Tensor:
    """Add rows that share an index into zeros like `like_M`: wide, and in a fixed order, unlike index_add_ on a GPU."""
    total_M = torch.zeros(like_M.shape, dtype=wide_dtype(grad_N.dtype), device=grad_N.device)
    if total_M.is_cuda:
        total_M.index_put_((index_N.long(),), grad_N.to(total_M.dtype), accumulate=True)
    else:
        total_M.index_add_(0, index_N.int(), grad_N.to(total_M.dtype))
    return total_M.to(like_M.dtype)


def pad_rows(grad: Tensor, like: Tensor) -> Tensor:
    """Zeros for the vocabulary's padding."""
    if grad.shape == like.shape:
        return grad
    whole = grad.new_zeros(like.shape)
    whole[: grad.shape[0]] = grad
    return whole
