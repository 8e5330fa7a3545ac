"""The escape hatch: the vendor's product writes a tile of raw dot products, one kernel folds it.

Same mathematics as `triton_forward.py`. With float32 tiles it keeps the accuracy and pays 8 bytes of traffic per logit;
with tiles in the inputs' dtype it is what everyone else computes, fast and rounded.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import FoldSums, Mix
from cai.kernels.products import product, rounded_product
from cai.kernels.triton_tile import INTERPRETED, fold_tile, store_tile

_TILE_BYTES = 512 << 20


@triton.jit(do_not_specialize=["n"])
def _rows_kernel(
    raw_ptr,
    bias_ptr,
    target_ptr,
    shift_ptr,
    base_ptr,
    slope_ptr,
    store_ptr,
    sum_ptr,
    moment_ptr,
    n,
    left,
    right,
    raw_stride,
    store_stride,
    factor,
    to_cap,
    from_cap,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    MOMENT: tl.constexpr,
    STORE: tl.constexpr,
    MIX: tl.constexpr,
):
    factor = tl.cast(factor, tl.float32)
    to_cap = tl.cast(to_cap, tl.float32)
    from_cap = tl.cast(from_cap, tl.float32)
    top = tl.program_id(0) * ROWS
    row = top.to(tl.int64) + tl.arange(0, ROWS)
    row_ok = row < n
    shift = tl.load(shift_ptr + row, mask=row_ok, other=0.0)
    target = tl.load(target_ptr + row, mask=row_ok, other=-1)
    base = shift
    slope = shift
    if MIX:
        base = tl.load(base_ptr + row, mask=row_ok, other=0.0)
        slope = tl.load(slope_ptr + row, mask=row_ok, other=0.0)
    total = tl.load(sum_ptr + row, mask=row_ok, other=0.0)
    weighted = total
    if MOMENT:
        weighted = tl.load(moment_ptr + row, mask=row_ok, other=0.0)
    for start in range(left, right, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        raw = tl.load(
            raw_ptr + row[:, None] * raw_stride + (column - left)[None, :],
            mask=row_ok[:, None] & (column < right)[None, :],
            other=0.0,
        )
        a, b, value = fold_tile(  # pyright: ignore[reportGeneralTypeIssues]
            raw.to(tl.float32), column, right, shift, target, bias_ptr, base, slope,
            factor, to_cap, from_cap, HAS_BIAS, HAS_CAP, MOMENT, STORE, MIX,
        )  # fmt: skip
        if STORE:
            store_tile(
                store_ptr, value, top, start - left, n, right - left, store_stride, False, ROWS, COLUMNS
            )  # fmt: skip
        total += a
        weighted += b
    tl.store(sum_ptr + row, total, mask=row_ok)
    if MOMENT:
        tl.store(moment_ptr + row, weighted, mask=row_ok)


def fold_cublas(
    batch: HeadBatch,
    first: int,
    last: int,
    shift_N: Tensor,
    *,
    store_NC: Tensor | None = None,
    moment: bool = False,
    mix: Mix | None = None,
    exact: bool = True,
) -> FoldSums:
    """The `Fold` of `fold.py`, a library product and a fold per tile. `exact` keeps the tiles in float32."""
    sum_N, moment_N = batch.new_wide(batch.n), batch.new_wide(batch.n if moment else 0)
    if batch.n == 0:
        return FoldSums(sum_N, moment_N)
    dtype = torch.float32 if exact else batch.hidden_ND.dtype
    columns = max(128, min(_TILE_BYTES // (batch.n * dtype.itemsize) // 128 * 128, last - first))
    if INTERPRETED:
        columns = min(columns, 384)  # so that small tests, too, walk several tiles
    raw_NC = torch.empty(batch.n, columns, dtype=dtype, device=batch.hidden_ND.device)
    targets_N, shift_N = batch.targets_N.to(torch.int32), shift_N.contiguous()
    for left in range(first, last, columns):
        right = min(left + columns, last)
        tile_NC = raw_NC[:, : right - left]
        multiply = product if exact else rounded_product
        multiply(batch.hidden_ND, batch.weight_VD[left:right].T, tile_NC)
        store_part = None if store_NC is None else store_NC[:, left - first : right - first]
        _fold_rows(batch, left, right, tile_NC, targets_N, shift_N, store_part, sum_N, moment_N, mix)
    return FoldSums(sum_N, moment_N)


def _fold_rows(
    batch: HeadBatch,
    left: int,
    right: int,
    raw_NC: Tensor,
    targets_N: Tensor,
    shift_N: Tensor,
    store_NC: Tensor | None,
    sum_N: Tensor,
    moment_N: Tensor,
    mix: Mix | None,
) -> None:
    cap = batch.logit_map.softcap
    moment = moment_N.numel() > 0
    kernel: Any = _rows_kernel
    rows, columns = (32, 128) if INTERPRETED else (1, 4096)
    kernel[(-(-batch.n // rows),)](
        raw_NC,
        sum_N if batch.bias_V is None else batch.bias_V,
        targets_N,
        shift_N,
        sum_N if mix is None else mix.base_N.contiguous(),
        sum_N if mix is None else mix.slope_N.contiguous(),
        sum_N if store_NC is None else store_NC,
        sum_N,
        moment_N if moment else sum_N,
        batch.n,
        left,
        right,
        raw_NC.stride(0),
        0 if store_NC is None else store_NC.stride(0),
        batch.logit_map.factor,
        0.0 if cap is None else batch.logit_map.scale / cap,
        0.0 if cap is None else cap / batch.logit_map.temperature,
        ROWS=rows,
        COLUMNS=columns,
        HAS_BIAS=batch.bias_V is not None,
        HAS_CAP=cap is not None,
        MOMENT=moment,
        STORE=store_NC is not None,
        MIX=mix is not None,
        num_warps=8,
    )
