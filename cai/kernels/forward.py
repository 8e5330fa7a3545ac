"""The plans: what is kept between forward and backward, and how gradients come from stored tiles.

With E the folded tile (0 at the target), p = gain * E, and (p - 1) at the target written into E's hole, the gradient of
sum_n g_n logp_n is, with f the slope of the logit map and sigma_n = f * g_n * gain_n,

    d hidden = -sigma * (E @ W)        d weight = -E^T @ (sigma * hidden)        d bias = -E^T @ sigma

two plain products and no pass over the tile, because the upstream gradient only scales rows.

    score       forward only                                                       1 head product
    recompute   keep lse; fold again in backward, tile by tile                     4
    cache       keep E for the first rows within the budget, recompute the rest    3 to 4
    frozen      head fixed: keep u = d logp / d hidden, made in the forward        2
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch, put_target
from cai.kernels.fold import Engine
from cai.kernels.products import add_product
from cai.kernels.statistics import MARGIN, Statistics, fold_all, row_max, rows_out_of_range


class Tiles(NamedTuple):
    """How many rows and columns of E a plan holds at a time, and in which dtype."""

    rows: int
    columns: int
    store: torch.dtype


def target_slope(batch: HeadBatch, target_N: Tensor) -> Tensor:
    """What the soft-cap leaves of the slope at the target: 1 without one."""
    return torch.ones_like(target_N) if batch.logit_map.softcap is None else batch.logit_map.flatness(target_N)


def gain(stats: Statistics) -> Tensor:
    """p = gain * E."""
    return (stats.shift_N - stats.lse).exp()


def fill_target(batch: HeadBatch, store_NC: Tensor, first: int, stats: Statistics) -> None:
    """The target's entry of E: (p - 1) / gain, which is -R exactly."""
    put_target(store_NC, batch.targets_N, first, -stats.sum_N * target_slope(batch, stats.target_N))


def forward_cached(batch: HeadBatch, engine: Engine, cache_KV: Tensor, *, moment: bool) -> Statistics:
    """Scores of all rows; E of the first K of them is left in `cache_KV`."""
    kept = cache_KV.shape[0]
    head = fold_all(batch.rows(0, kept), engine, moment=moment, store_NV=cache_KV)
    fill_target(batch.rows(0, kept), cache_KV, 0, head)
    if kept == batch.n:
        return head
    tail = fold_all(batch.rows(kept, batch.n), engine, moment=moment)
    return Statistics(*(torch.cat(pair) for pair in zip(head, tail, strict=True)))


def forward_frozen(batch: HeadBatch, engine: Engine, tiles: Tiles, unit_ND: Tensor, *, moment: bool) -> Statistics:
    """Scores, and in `unit_ND` the gradient of each logp with respect to its hidden row."""
    parts = []
    for top in range(0, max(batch.n, 1), tiles.rows):  # at least one part, if only an empty one
        part = batch.rows(top, top + tiles.rows)
        target_R = engine.target_logits(part)
        stats = _walk_units(
            part, engine, tiles, target_R, target_R + MARGIN, unit_ND[top : top + part.n], moment=moment
        )
        index_K = rows_out_of_range(stats.sum_N)
        if index_K is not None:
            again = part.take(index_K)
            unit_KD = unit_ND.new_empty(again.n, unit_ND.shape[1])
            redone = _walk_units(again, engine, tiles, target_R[index_K], row_max(again), unit_KD, moment=moment)
            unit_ND[top : top + part.n].index_copy_(0, index_K, unit_KD)
            stats = Statistics(*(_replace(old, index_K, new) for old, new in zip(stats, redone, strict=True)))
        parts.append(stats)
    return Statistics(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _replace(old_N: Tensor, index_K: Tensor, new_K: Tensor) -> Tensor:
    return old_N.index_copy(0, index_K, new_K) if old_N.numel() else old_N


def _walk_units(
    part: HeadBatch, engine: Engine, tiles: Tiles, target_R: Tensor, shift_R: Tensor, out_RD: Tensor, *, moment: bool
) -> Statistics:
    sum_R, moment_R = part.new_wide(part.n), part.new_wide(part.n if moment else 0)
    pull_RD = part.new_wide(part.n, part.hidden_ND.shape[1])
    buffer_RC = part.hidden_ND.new_empty(part.n, min(tiles.columns, part.vocab), dtype=tiles.store)
    for left in range(0, part.vocab, tiles.columns):
        right = min(left + tiles.columns, part.vocab)
        store_RC = buffer_RC[:, : right - left]
        sums = engine.fold(part, left, right, shift_R, store_NC=store_RC, moment=moment)
        sum_R += sums.sum_N
        moment_R += sums.moment_N
        add_product(pull_RD, store_RC, part.weight_VD[left:right])
    stats = Statistics(target_R, shift_R, sum_R, moment_R)
    push_RD = part.weight_VD[part.targets_N.long().clamp(0, part.vocab - 1)].to(part.wide)
    push_RD *= (target_slope(part, target_R) * sum_R)[:, None]
    out_RD.copy_(push_RD.sub_(pull_RD).mul_((gain(stats) * part.logit_map.factor)[:, None]))
    return stats
