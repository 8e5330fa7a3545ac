"""The escape hatch: the vendor's product writes a tile of raw dot products, one kernel folds it.

Same mathematics as `triton_forward.py`. With float32 tiles it keeps the accuracy and pays 8 bytes of traffic per logit;
with tiles in the inputs' dtype it is what everyone else computes, fast and rounded.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import FoldSums, Mix
from cai.kernels.products import product, rounded_product
from cai.kernels.triton_tile import INTERPRETED, fold_tile

_TILE_BYTES = 512 << 20


@triton.jit
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
    left,
    right,
    raw_stride,
    store_stride,
    factor,
    to_cap,
    from_cap,
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
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    row_ok = row >= 0
    shift = tl.load(shift_ptr + row)
    target = tl.load(target_ptr + row)
    base = shift
    slope = shift
    if MIX:
        base = tl.load(base_ptr + row)
        slope = tl.load(slope_ptr + row)
    total = tl.load(sum_ptr + row)
    weighted = total
    if MOMENT:
        weighted = tl.load(moment_ptr + row)
    for start in range(left, right, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        at = (column - left)[None, :]
        raw = tl.load(raw_ptr + row[:, None] * raw_stride + at, mask=(column < right)[None, :], other=0.0)
        store_ptrs = store_ptr + row[:, None] * store_stride + at
        a, b = fold_tile(
            raw.to(tl.float32), column, right, row_ok, shift, target, bias_ptr, base, slope, store_ptrs,
            factor, to_cap, from_cap, HAS_BIAS, HAS_CAP, MOMENT, STORE, MIX,
        )  # fmt: skip
        total += a
        weighted += b
    tl.store(sum_ptr + row, total)
    if MOMENT:
        tl.store(moment_ptr + row, weighted)


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
    _rows_kernel[(batch.n,)](
        raw_NC,
        sum_N if batch.bias_V is None else batch.bias_V,
        targets_N,
        shift_N,
        sum_N if mix is None else mix.base_N.contiguous(),
        sum_N if mix is None else mix.slope_N.contiguous(),
        sum_N if store_NC is None else store_NC,
        sum_N,
        moment_N if moment else sum_N,
        left,
        right,
        raw_NC.stride(0),
        0 if store_NC is None else store_NC.stride(0),
        batch.logit_map.factor,
        0.0 if cap is None else batch.logit_map.scale / cap,
        0.0 if cap is None else cap / batch.logit_map.temperature,
        COLUMNS=256 if INTERPRETED else 4096,
        HAS_BIAS=batch.bias_V is not None,
        HAS_CAP=cap is not None,
        MOMENT=moment,
        STORE=store_NC is not None,
        MIX=mix is not None,
        num_warps=8,
    )
