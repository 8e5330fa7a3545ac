"""Small memory-bound kernels around the products: gathered dots, slab sums, row scaling."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cai.kernels.batch import HeadBatch


@triton.jit
def _dots_kernel(
    hidden_ptr,
    weight_ptr,
    bias_ptr,
    ids_ptr,
    out_ptr,
    vocab,
    depth,
    hidden_stride,
    weight_stride,
    factor,
    to_cap,
    from_cap,
    K: tl.constexpr,
    DEPTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    row = pair // K
    token = tl.load(ids_ptr + pair).to(tl.int64)
    known = (token >= 0) & (token < vocab)
    token = tl.where(known, token, 0)
    parts = tl.zeros((DEPTH,), tl.float32)
    for start in range(0, depth, DEPTH):
        inner = start + tl.arange(0, DEPTH)
        inner_ok = inner < depth
        h = tl.load(hidden_ptr + row * hidden_stride + inner, mask=inner_ok, other=0.0).to(tl.float32)
        w = tl.load(weight_ptr + token * weight_stride + inner, mask=inner_ok, other=0.0).to(tl.float32)
        parts += h * w
    z = tl.sum(parts, 0)
    if HAS_BIAS:
        z += tl.load(bias_ptr + token).to(tl.float32)
    if HAS_CAP:
        z = (2.0 * tl.sigmoid(2.0 * z * tl.cast(to_cap, tl.float32)) - 1.0) * tl.cast(from_cap, tl.float32)
    else:
        z *= tl.cast(factor, tl.float32)
    tl.store(out_ptr + pair, tl.where(known, z, float("nan")))


def candidate_dots(batch: HeadBatch, ids_NK: Tensor) -> Tensor:
    """[N, K] float32 logits of `ids_NK`; NaN where an id lies outside the vocabulary."""
    ids_NK = ids_NK.to(torch.int32).contiguous()
    out_NK = torch.empty(ids_NK.shape, dtype=torch.float32, device=ids_NK.device)
    if ids_NK.numel() == 0:
        return out_NK
    depth, cap = batch.hidden_ND.shape[1], batch.logit_map.softcap
    kernel: Any = _dots_kernel
    kernel[(ids_NK.numel(),)](
        batch.hidden_ND,
        batch.weight_VD,
        out_NK if batch.bias_V is None else batch.bias_V,
        ids_NK,
        out_NK,
        batch.vocab,
        depth,
        batch.hidden_ND.stride(0),
        batch.weight_VD.stride(0),
        batch.logit_map.factor,
        0.0 if cap is None else batch.logit_map.scale / cap,
        0.0 if cap is None else cap / batch.logit_map.temperature,
        K=ids_NK.shape[1],
        DEPTH=min(1024, triton.next_power_of_2(depth)),
        HAS_BIAS=batch.bias_V is not None,
        HAS_CAP=cap is not None,
        num_warps=4,
    )
    return out_NK


@triton.jit(do_not_specialize=["n", "slabs"])
def _slabs_kernel(part_ptr, out_ptr, n, slabs, ROWS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_ok = row < n
    total = tl.zeros((ROWS,), tl.float32)
    for slab in range(0, slabs):
        at = tl.cast(slab, tl.int64) * n + row
        total += tl.load(part_ptr + at, mask=row_ok, other=0.0)
    tl.store(out_ptr + row, total, mask=row_ok)


def add_slabs(part_SN: Tensor) -> Tensor:
    """[N] sums over slabs, first to last whatever N is; a library reduction may change its order with the shape."""
    slabs, n = part_SN.shape
    out_N = part_SN.new_empty(n)
    if n:
        kernel: Any = _slabs_kernel
        kernel[(-(-n // 256),)](part_SN, out_N, n, slabs, ROWS=256)
    return out_N


@triton.jit
def _scale_kernel(in_ptr, scale_ptr, out_ptr, columns, in_stride, out_stride, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    scale = tl.load(scale_ptr + row).to(tl.float32)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < columns
        value = tl.load(in_ptr + row * in_stride + column, mask=inside, other=0.0).to(tl.float32) * scale
        tl.store(out_ptr + row * out_stride + column, value.to(out_ptr.dtype.element_ty), mask=inside)


def scale_rows(rows_ND: Tensor, scale_N: Tensor, dtype: torch.dtype) -> Tensor:
    """rows * scale per row, rounded once to `dtype`, without a float32 copy in between."""
    n, columns = rows_ND.shape
    out_ND = torch.empty((n, columns), dtype=dtype, device=rows_ND.device)
    if n and columns:
        block = min(2048, triton.next_power_of_2(columns))
        args = (columns, rows_ND.stride(0), out_ND.stride(0))
        kernel: Any = _scale_kernel
        kernel[(n,)](rows_ND, scale_N.contiguous(), out_ND, *args, COLUMNS=block, num_warps=4)
    return out_ND
