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
    row_ok,
    shift,
    target,
    bias_ptr,
    base,
    slope,
    store_ptrs,
    factor,
    to_cap,
    from_cap,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    MOMENT: tl.constexpr,
    STORE: tl.constexpr,
    MIX: tl.constexpr,
):
    """Row sums (and moments) of one tile [R, C] of raw products; stores its entries at `store_ptrs` if asked.

    Columns from `last` on and each row's own target count for nothing. Rows outside `row_ok` are computed but never stored.
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
    if STORE:
        value = e
        if MIX:
            value *= base[:, None] + slope[:, None] * tl.maximum(above, _FLOOR)
        if HAS_CAP:
            value *= 1.0 - bent * bent
        tl.store(store_ptrs, value.to(store_ptrs.dtype.element_ty), mask=row_ok[:, None] & column_ok[None, :])
    return total, weighted
