"""The head product with the fold in its epilogue: logits live in registers only, in float32.

A work item is a block of rows times a slab of vocabulary tiles. Items that run together share rows and head tiles in
the L2 cache. Each item writes one partial sum per row; slabs have a fixed size and are added in a fixed order, so a
row's result depends on nothing but the row: it is the same bit for bit in any batch.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import FoldSums, Mix
from cai.kernels.triton_rows import add_slabs
from cai.kernels.triton_tile import INTERPRETED, fold_tile, store_tile
from cai.kernels.tuned import TileConfig, tuned_config


@triton.jit(do_not_specialize=["n", "items"])
def _forward_kernel(
    hidden,
    weight,
    bias_ptr,
    target_ptr,
    shift_ptr,
    base_ptr,
    slope_ptr,
    store,
    sum_ptr,
    moment_ptr,
    n,
    first,
    last,
    depth,
    items,
    hidden_stride,
    weight_stride,
    store_stride,
    factor,
    to_cap,
    from_cap,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    SLAB: tl.constexpr,
    HALVES: tl.constexpr,
    FLATTEN: tl.constexpr,
    TMA: tl.constexpr,
    UPCAST: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    MOMENT: tl.constexpr,
    STORE: tl.constexpr,
    STORE_TMA: tl.constexpr,
    MIX: tl.constexpr,
):
    factor = tl.cast(factor, tl.float32)
    to_cap = tl.cast(to_cap, tl.float32)
    from_cap = tl.cast(from_cap, tl.float32)
    row_blocks = tl.cdiv(n, ROWS)
    tiles = tl.cdiv(last - first, COLUMNS)
    slabs = tl.cdiv(tiles, SLAB)
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        group = item // (GROUP * slabs)
        blocks = tl.minimum(row_blocks - group * GROUP, GROUP)
        within = item - group * GROUP * slabs
        row_block = group * GROUP + within % blocks
        slab = within // blocks

        row = row_block * ROWS + tl.arange(0, ROWS)
        row_ok = row < n
        row_long = row.to(tl.int64)
        shift = tl.load(shift_ptr + row, mask=row_ok, other=0.0)
        target = tl.load(target_ptr + row, mask=row_ok, other=-1)
        base = shift
        slope = shift
        if MIX:
            base = tl.load(base_ptr + row, mask=row_ok, other=0.0)
            slope = tl.load(slope_ptr + row, mask=row_ok, other=0.0)
        total = tl.zeros((ROWS,), tl.float32)
        weighted = tl.zeros((ROWS,), tl.float32)

        for tile in tl.range(slab * SLAB, tl.minimum(slab * SLAB + SLAB, tiles), flatten=FLATTEN):
            left = first + tile * COLUMNS
            column = left + tl.arange(0, COLUMNS)
            column_long = column.to(tl.int64)
            raw = tl.zeros((ROWS, COLUMNS), tl.float32)
            for step in range(0, tl.cdiv(depth, DEPTH)):
                if TMA:
                    h = hidden.load([row_block * ROWS, step * DEPTH])
                    w = weight.load([left, step * DEPTH])
                else:
                    inner = step * DEPTH + tl.arange(0, DEPTH)
                    inner_ok = inner < depth
                    h = tl.load(
                        hidden + row_long[:, None] * hidden_stride + inner[None, :],
                        mask=row_ok[:, None] & inner_ok[None, :],
                        other=0.0,
                    )
                    w = tl.load(
                        weight + column_long[:, None] * weight_stride + inner[None, :],
                        mask=(column < last)[:, None] & inner_ok[None, :],
                        other=0.0,
                    )
                if UPCAST:
                    h = h.to(tl.float32)
                    w = w.to(tl.float32)
                raw = tl.dot(h, tl.trans(w), raw, input_precision="ieee")

            if HALVES:
                # Two halves of the columns, one after the other: the fold's temporaries then fit the registers.
                left_raw, right_raw = tl.split(tl.permute(tl.reshape(raw, (ROWS, 2, COLUMNS // 2)), (0, 2, 1)))
                half = left + tl.arange(0, COLUMNS // 2)
                a, b, value = fold_tile(
                    left_raw, half, last, shift, target, bias_ptr, base, slope,
                    factor, to_cap, from_cap, HAS_BIAS, HAS_CAP, MOMENT, STORE, MIX,
                )  # fmt: skip
                total += a
                weighted += b
                if STORE:
                    store_tile(
                        store, value, row_block * ROWS, left - first, n, last - first, store_stride,
                        STORE_TMA, ROWS, COLUMNS // 2,
                    )  # fmt: skip
                a, b, value = fold_tile(
                    right_raw, half + COLUMNS // 2, last, shift, target, bias_ptr, base, slope,
                    factor, to_cap, from_cap, HAS_BIAS, HAS_CAP, MOMENT, STORE, MIX,
                )  # fmt: skip
                total += a
                weighted += b
                if STORE:
                    store_tile(
                        store, value, row_block * ROWS, left - first + COLUMNS // 2, n, last - first, store_stride,
                        STORE_TMA, ROWS, COLUMNS // 2,
                    )  # fmt: skip
            else:
                a, b, value = fold_tile(
                    raw, column, last, shift, target, bias_ptr, base, slope,
                    factor, to_cap, from_cap, HAS_BIAS, HAS_CAP, MOMENT, STORE, MIX,
                )  # fmt: skip
                total += a
                weighted += b
                if STORE:
                    store_tile(
                        store, value, row_block * ROWS, left - first, n, last - first, store_stride,
                        STORE_TMA, ROWS, COLUMNS,
                    )  # fmt: skip

        at = slab.to(tl.int64) * n + row
        tl.store(sum_ptr + at, total, mask=row_ok)
        if MOMENT:
            tl.store(moment_ptr + at, weighted, mask=row_ok)


def fold_triton(
    batch: HeadBatch,
    first: int,
    last: int,
    shift_N: Tensor,
    *,
    store_NC: Tensor | None = None,
    moment: bool = False,
    mix: Mix | None = None,
    config: TileConfig | None = None,
) -> FoldSums:
    """The `Fold` of `fold.py` in one kernel."""
    depth = batch.hidden_ND.shape[1]
    config = config or tuned_config(batch.hidden_ND, depth)
    slabs = -(-(last - first) // (config.columns * config.slab))
    blocks = -(-batch.n // config.rows)
    sum_SN = batch.hidden_ND.new_empty(slabs, batch.n, dtype=torch.float32)
    moment_SN = batch.hidden_ND.new_empty(slabs if moment else 0, batch.n, dtype=torch.float32)
    if batch.n == 0:
        return FoldSums(sum_SN.sum(0), moment_SN.sum(0))
    tma = config.tma and has_tma_layout(batch.hidden_ND) and has_tma_layout(batch.weight_VD)
    hidden, weight = _operands(batch, last, config) if tma else (batch.hidden_ND, batch.weight_VD)
    store_tma = tma and store_NC is not None and has_tma_layout(store_NC)
    store = sum_SN if store_NC is None else _target(store_NC, config) if store_tma else store_NC
    cap = batch.logit_map.softcap
    unused = shift_N
    kernel: Any = _forward_kernel
    kernel[(min(blocks * slabs, programs(batch.hidden_ND.device, config)),)](
        hidden,
        weight,
        unused if batch.bias_V is None else batch.bias_V,
        batch.targets_N.to(torch.int32),
        shift_N.contiguous(),
        unused if mix is None else mix.base_N.contiguous(),
        unused if mix is None else mix.slope_N.contiguous(),
        store,
        sum_SN,
        moment_SN if moment else sum_SN,
        batch.n,
        first,
        last,
        depth,
        blocks * slabs,
        batch.hidden_ND.stride(0),
        batch.weight_VD.stride(0),
        0 if store_NC is None else store_NC.stride(0),
        batch.logit_map.factor,
        0.0 if cap is None else batch.logit_map.scale / cap,
        0.0 if cap is None else cap / batch.logit_map.temperature,
        ROWS=config.rows,
        COLUMNS=config.columns,
        DEPTH=config.depth,
        GROUP=config.group,
        SLAB=config.slab,
        HALVES=config.halves,
        FLATTEN=config.flatten,
        TMA=tma,
        UPCAST=INTERPRETED and batch.hidden_ND.dtype == torch.bfloat16,
        HAS_BIAS=batch.bias_V is not None,
        HAS_CAP=cap is not None,
        MOMENT=moment,
        STORE=store_NC is not None,
        STORE_TMA=store_tma,
        MIX=mix is not None,
        num_warps=config.warps,
        num_stages=config.stages,
    )
    return FoldSums(add_slabs(sum_SN), add_slabs(moment_SN) if moment else batch.new_wide(0))


def has_tma_layout(matrix: Tensor) -> bool:
    """The copy engine wants rows that start at multiples of 16 bytes."""
    size = matrix.element_size()
    return matrix.data_ptr() % 16 == 0 and matrix.stride(0) * size % 16 == 0 and matrix.stride(1) == 1


def _operands(batch: HeadBatch, last: int, config: TileConfig) -> tuple[object, object]:
    from triton.tools.tensor_descriptor import TensorDescriptor

    # Cut at `last`: the copy engine fills with zeros beyond, as the pointer path does.
    weight_VD = batch.weight_VD[:last]
    return (
        TensorDescriptor.from_tensor(batch.hidden_ND, [config.rows, config.depth]),
        TensorDescriptor.from_tensor(weight_VD, [config.columns, config.depth]),
    )


def _target(store_NC: Tensor, config: TileConfig) -> object:
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor.from_tensor(store_NC, [config.rows, config.columns // (2 if config.halves else 1)])


def programs(device: torch.device, config: TileConfig) -> int:
    """How many programs run at once."""
    if device.type != "cuda":
        return 4
    return torch.cuda.get_device_properties(device).multi_processor_count * config.per_processor
