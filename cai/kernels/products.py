"""Matrix products that add up in float32, whatever the inputs are.

A GPU multiplies bfloat16 and float16 as they are and keeps the sum in float32. A CPU rounds the result of such a
product, so there the operands are widened first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.kernels.batch import wide_dtype


def _is_native(a: Tensor, b: Tensor) -> bool:
    return a.is_cuda and a.dtype == b.dtype and a.dtype in (torch.float16, torch.bfloat16)


def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """out = a @ b, with `out` in the wide dtype."""
    if _is_native(a, b):
        return torch.mm(a, b, out_dtype=torch.float32, out=out)  # pyright: ignore[reportCallIssue]
    return torch.mm(a.to(out.dtype), b.to(out.dtype), out=out)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """total += a @ b, with `total` in the wide dtype."""
    if _is_native(a, b):
        return torch.addmm(total, a, b, out_dtype=torch.float32, out=total)  # pyright: ignore[reportCallIssue]
    return total.addmm_(a.to(total.dtype), b.to(total.dtype))


def scaled_rows(rows_ND: Tensor, scale_N: Tensor, dtype: torch.dtype) -> Tensor:
    """rows * scale per row, rounded once to `dtype`."""
    return (rows_ND * scale_N[:, None]).to(dtype)


def rounded_product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """out = a @ b, summed wide and rounded once to `out.dtype`."""
    if _is_native(a, b) and out.dtype == a.dtype:
        return torch.mm(a, b, out=out)
    wide = wide_dtype(out.dtype)
    if out.dtype == wide:
        return product(a, b, out)
    return out.copy_(product(a, b, torch.empty(out.shape, dtype=wide, device=out.device)))
