"""Gradients of the head, one slice of the vocabulary at a time: each slice of the weight's gradient is written once.

See `forward.py` for the formulas. A slice's tiles come from the cache where the forward kept them, and are folded
again around lse for the remaining rows; there E is p itself and its gain is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch, put_target
from cai.kernels.engines import Engine
from cai.kernels.fold import Mix
from cai.kernels.forward import Tiles, target_slope
from cai.kernels.products import add_product, product, rounded_product


class Wanted(NamedTuple):
    """Which gradients to compute."""

    hidden: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """`hidden_ND` wide, `weight_VD` in the head's dtype, `bias_V` wide; None where not wanted."""

    hidden_ND: Tensor | None
    weight_VD: Tensor | None
    bias_V: Tensor | None


class Saved(NamedTuple):
    """What the forward kept: per row lse, logp, entropy (or empty); E and its gain for the first K rows."""

    lse_N: Tensor
    logp_N: Tensor
    entropy_N: Tensor
    gain_K: Tensor
    cache_KV: Tensor


class Block(NamedTuple):
    """Rows of one slice of the vocabulary."""

    here: slice
    e_RC: Tensor


class Mixing(NamedTuple):
    """How the upstream gradients enter a recomputed tile.

    Only logp: the tile stays p and rows are scaled by g afterwards. With an entropy gradient h the tile itself becomes
    p * (g + h * (log p + H)), from dH/dz = -p (log p + H), and the rows keep their scale.
    """

    scale_N: Tensor
    up_N: Tensor | None = None
    up_entropy_N: Tensor | None = None
    entropy_N: Tensor | None = None

    @staticmethod
    def of(up_N: Tensor, up_entropy_N: Tensor | None, entropy_N: Tensor) -> Mixing:
        if up_entropy_N is None:
            return Mixing(up_N)
        return Mixing(torch.ones_like(up_N), up_N, up_entropy_N, entropy_N)

    def mix(self, here: slice) -> Mix | None:
        if self.up_N is None or self.up_entropy_N is None or self.entropy_N is None:
            return None
        base_N = self.up_N + self.up_entropy_N * self.entropy_N
        return Mix(base_N[here], self.up_entropy_N[here])

    def at_target(self, logp_N: Tensor) -> Tensor:
        """The tile's entry at the target."""
        if self.up_N is None or self.up_entropy_N is None or self.entropy_N is None:
            return torch.expm1(logp_N)
        return self.up_N * torch.expm1(logp_N) + self.up_entropy_N * logp_N.exp() * (logp_N + self.entropy_N)


def backward(batch: HeadBatch, engine: Engine, tiles: Tiles, saved: Saved, mixing: Mixing, wanted: Wanted) -> Gradients:
    """Gradients of sum_n g_n logp_n (+ h_n entropy_n) with respect to hidden rows, head and bias."""
    kept = saved.cache_KV.shape[0]
    scale_N = mixing.scale_N * -batch.logit_map.factor
    scale_N[:kept] *= saved.gain_K
    scaled_ND = engine.scale(batch.hidden_ND, scale_N, tiles.store) if wanted.weight else None
    pull_ND = batch.new_wide(*batch.hidden_ND.shape) if wanted.hidden else None
    weight_VD = torch.empty_like(batch.weight_VD, memory_format=torch.contiguous_format) if wanted.weight else None
    bias_V = batch.new_wide(batch.vocab) if wanted.bias else None
    count = (kept > 0) + len(range(kept, batch.n, tiles.rows))
    for left in range(0, batch.vocab, tiles.columns):
        right = min(left + tiles.columns, batch.vocab)
        total_CD = None if weight_VD is None else SliceTotal(weight_VD[left:right], only_one=count == 1)
        for block in _blocks(batch, engine, tiles, saved, mixing, left, right):
            if pull_ND is not None:
                add_product(pull_ND[block.here], block.e_RC, batch.weight_VD[left:right])
            if total_CD is not None and scaled_ND is not None:
                total_CD.add(block.e_RC.T, scaled_ND[block.here])
            if bias_V is not None:
                column_R1 = scale_N[block.here, None].to(tiles.store)
                add_product(bias_V[left:right, None], block.e_RC.T, column_R1)
        if total_CD is not None:
            total_CD.finish()
    if pull_ND is not None:
        pull_ND *= scale_N[:, None]
    return Gradients(pull_ND, weight_VD, bias_V)


def _blocks(
    batch: HeadBatch, engine: Engine, tiles: Tiles, saved: Saved, mixing: Mixing, left: int, right: int
) -> Iterator[Block]:
    kept = saved.cache_KV.shape[0]
    if kept:
        yield Block(slice(0, kept), saved.cache_KV[:, left:right])
    if kept == batch.n:
        return
    at_target_N = mixing.at_target(saved.logp_N) * target_slope(batch, saved.logp_N + saved.lse_N)
    rows = min(tiles.rows, batch.n - kept)
    buffer_RC = batch.hidden_ND.new_empty(rows, min(tiles.columns, batch.vocab), dtype=tiles.store)
    for top in range(kept, batch.n, rows):
        part = batch.rows(top, top + rows)
        here = slice(top, top + part.n)
        store_RC = buffer_RC[: part.n, : right - left]
        engine.fold(part, left, right, saved.lse_N[here], store_NC=store_RC, mix=mixing.mix(here))
        put_target(store_RC, part.targets_N, left, at_target_N[here])
        yield Block(here, store_RC)


class SliceTotal:
    """One slice of a weight's gradient: blocks are summed wide and rounded once."""

    def __init__(self, out_CD: Tensor, *, only_one: bool) -> None:
        wide = torch.promote_types(out_CD.dtype, torch.float32)
        self._out_CD, self._only_one, self._empty = out_CD, only_one, True
        in_place = only_one or out_CD.dtype == wide
        self._total_CD = out_CD if in_place else torch.empty(out_CD.shape, dtype=wide, device=out_CD.device)

    def add(self, a: Tensor, b: Tensor) -> None:
        if self._only_one:
            rounded_product(a, b, self._out_CD)
        elif self._empty:
            product(a, b, self._total_CD)
        else:
            add_product(self._total_CD, a, b)
        self._empty = False

    def finish(self) -> None:
        if self._empty:
            self._out_CD.zero_()
        elif self._total_CD is not self._out_CD:
            self._out_CD.copy_(self._total_CD)
