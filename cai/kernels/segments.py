"""Sums over sequences, in float64: a float32 running sum over 500 tokens loses three digits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cai.kernels.inputs import check_offsets


@torch.library.custom_op("cai::segment_sums", mutates_args=())
def segment_sums(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """[S] float64 sums of values[cu_seqlens[s] : cu_seqlens[s + 1]], added in order; 0 for an empty segment."""
    check_offsets(cu_seqlens, values.shape[0])
    return torch.segment_reduce(values.double(), "sum", offsets=cu_seqlens.long(), initial=0.0)


@segment_sums.register_fake
def _(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    return values.new_empty(cu_seqlens.shape[0] - 1, dtype=torch.float64)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    values, cu_seqlens = inputs
    ctx.save_for_backward(cu_seqlens)
    ctx.size, ctx.dtype = values.shape[0], values.dtype


def _backward(ctx: Any, grad_S: Tensor) -> tuple[Tensor, None]:
    (cu_seqlens,) = ctx.saved_tensors
    position_N = torch.arange(ctx.size, device=grad_S.device, dtype=cu_seqlens.dtype)
    segment_N = torch.searchsorted(cu_seqlens, position_N, right=True) - 1
    last = grad_S.shape[0] - 1
    inside_N = (segment_N >= 0) & (segment_N <= last)
    grad_N = torch.where(inside_N, grad_S[segment_N.clamp(0, last)], 0.0)
    return grad_N.to(ctx.dtype), None


segment_sums.register_autograd(_backward, setup_context=_setup)
