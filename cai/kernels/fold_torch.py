"""The tile walk in plain torch: for CPUs, for float64, and for any device without Triton."""

from __future__ import annotations

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch, put_target
from cai.kernels.fold import FoldSums, Mix
from cai.kernels.products import product

# Small enough for a core's cache between the product that writes a tile and the passes over it, wide enough for the
# product to run at full rate. A GPU without Triton wants larger tiles: launches cost more there than memory traffic.
CPU_TILE = (512, 2048)
GPU_TILE = (4096, 16384)
_FLOOR = -1000.0  # exp of it is 0 in every dtype used here; keeps 0 * inf out of the moment


def tile_shape(device: torch.device) -> tuple[int, int]:
    """Rows and columns of a tile on this device."""
    return CPU_TILE if device.type == "cpu" else GPU_TILE


def tile_logits(batch: HeadBatch, first: int, last: int, out_NC: Tensor) -> Tensor:
    """Logits of columns first..last, written to `out_NC` (wide dtype)."""
    product(batch.hidden_ND, batch.weight_VD[first:last].T, out_NC)
    if batch.bias_V is not None:
        out_NC += batch.bias_V[first:last]
    return batch.logit_map.apply_(out_NC)


def fold_torch(
    batch: HeadBatch,
    first: int,
    last: int,
    shift_N: Tensor,
    *,
    store_NC: Tensor | None = None,
    moment: bool = False,
    mix: Mix | None = None,
) -> FoldSums:
    """The `Fold` of `fold.py`, tile by tile."""
    sum_N, moment_N = batch.new_wide(batch.n), batch.new_wide(batch.n if moment else 0)
    rows, columns = tile_shape(batch.hidden_ND.device)
    scratch = None
    if store_NC is None or store_NC.dtype != batch.wide:
        scratch = batch.hidden_ND.new_empty(min(rows, batch.n) * min(columns, last - first), dtype=batch.wide)
    for top in range(0, batch.n, rows):
        part = batch.rows(top, top + rows)
        here = slice(top, top + part.n)
        for left in range(first, last, columns):
            right = min(left + columns, last)
            store_RC = None if store_NC is None else store_NC[here, left - first : right - first]
            tile_RC = store_RC
            if scratch is not None:
                tile_RC = scratch[: part.n * (right - left)].view(part.n, right - left)
            assert tile_RC is not None
            row_mix = mix and Mix(mix.base_N[here], mix.slope_N[here])
            moment_R = moment_N[here] if moment else None
            _fold_tile(part, left, right, shift_N[here], tile_RC, sum_N[here], moment_R, row_mix, store_RC)
    return FoldSums(sum_N, moment_N)


def _fold_tile(
    part: HeadBatch,
    left: int,
    right: int,
    shift_R: Tensor,
    tile_RC: Tensor,
    sum_R: Tensor,
    moment_R: Tensor | None,
    mix: Mix | None,
    store_RC: Tensor | None,
) -> None:
    z_RC = tile_logits(part, left, right, tile_RC)
    capped = store_RC is not None and part.logit_map.softcap is not None
    flatness_RC = part.logit_map.flatness(z_RC) if capped else None
    above_RC = z_RC.sub_(shift_R[:, None])
    kept_RC = above_RC.clamp(min=_FLOOR) if moment_R is not None or mix is not None else None
    e_RC = above_RC.exp_()
    put_target(e_RC, part.targets_N, left, 0.0)
    sum_R += e_RC.sum(1)
    if moment_R is not None and kept_RC is not None:
        moment_R += torch.linalg.vecdot(e_RC, kept_RC)
    if store_RC is None:
        return
    if mix is not None and kept_RC is not None:
        e_RC *= kept_RC.mul_(mix.slope_N[:, None]).add_(mix.base_N[:, None])
    if flatness_RC is not None:
        e_RC *= flatness_RC
    if store_RC.data_ptr() != e_RC.data_ptr():
        store_RC.copy_(e_RC)
