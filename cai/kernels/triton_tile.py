"""What every Triton kernel does with a tile of raw dot products: map, shift, exponentiate, mask, sum, store."""

import os

import triton
import triton.language as tl

# The interpreter runs kernels in numpy, on CPU tensors. It multiplies raw bits for bfloat16, hence the upcast there.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"

_FLOOR = tl.constexpr(-1000.0)  # exp of it is 0; keeps 0 * inf out of the moment


@triton.jit
def fold_tile(
    raw,
    column,
    last,
    shift,
    target,
    bias_ptr,
    base,
    slope,
    factor,
    to_cap,
    from_cap,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    MOMENT: tl.constexpr,
    STORE: tl.constexpr,
    MIX: tl.constexpr,
):
    """(row sums, row moments, entries to store) of one tile [R, C] of raw products; what is not asked for is a dummy.

    Columns from `last` on and each row's own target count for nothing.
    """
    column_ok = column < last
    z = raw
    if HAS_BIAS:
        z += tl.load(bias_ptr + column, mask=column_ok, other=0.0).to(tl.float32)[None, :]
    if HAS_CAP:
        # tanh(x) = 2 sigmoid(2x) - 1: the interpreter has no tanh
        bent = 2.0 * tl.sigmoid(2.0 * z * to_cap) - 1.0
        z = bent * from_cap
    else:
        z *= factor
    above = z - shift[:, None]
    counts = column_ok[None, :] & (column[None, :] != target[:, None])
    e = tl.where(counts, tl.exp(above), 0.0)
    total = tl.sum(e, 1)
    weighted = total
    if MOMENT:
        weighted = tl.sum(e * tl.maximum(above, _FLOOR), 1)
    value = e
    if STORE:
        if MIX:
            value *= base[:, None] + slope[:, None] * tl.maximum(above, _FLOOR)
        if HAS_CAP:
            value *= 1.0 - bent * bent
    return total, weighted, value


@triton.jit
def store_tile(
    store,
    value,
    row,
    column,
    rows,
    columns,
    stride,
    TMA: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write a tile at (row, column) of a [rows, columns] store: a descriptor, or a pointer to its first entry.

    The row offset is 64 bit: rows * columns passes 2^31 early. Offsets within the tile are 32 bit, which halves the
    registers they take.
    """
    if TMA:
        store.store([row, column], value.to(store.dtype))
    else:
        origin = store + tl.cast(row, tl.int64) * stride + column
        down = tl.arange(0, ROWS)
        across = tl.arange(0, COLUMNS)
        inside = (row + down < rows)[:, None] & (column + across < columns)[None, :]
        tl.store(origin + (down[:, None] * stride + across[None, :]), value.to(store.dtype.element_ty), mask=inside)
