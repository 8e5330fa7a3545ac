"""From the folded sums to log-probabilities: the target-anchored complement softmax.

The shift of row i is its own target's logit t plus a margin, and the target is left out of the sum R. So with
L = log R + shift - t:   logp = -softplus(L),   1 - p = sigmoid(L),   lse = t + softplus(L).
logp is never above 0, and keeps its relative precision as p goes to 1, where `z - logsumexp(z)` cancels to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Engine
from cai.kernels.fold_torch import tile_logits

# exp(z - t - 40) stays finite in float32 and bfloat16 for log-probabilities down to about -110, and keeps seventeen
# digits below a probability of 1 - exp(-40). Rows outside are folded again around their largest logit.
MARGIN = 40.0
LIMIT = 1e30
_MAX_COLUMNS = 8192


class Statistics(NamedTuple):
    """Per row: target logit, shift, sum and moment of the fold (see `fold.py`)."""

    target_N: Tensor
    shift_N: Tensor
    sum_N: Tensor
    moment_N: Tensor

    @property
    def log_odds(self) -> Tensor:
        """log((1 - p) / p) of the target."""
        return self.sum_N.log() + (self.shift_N - self.target_N)

    @property
    def logp(self) -> Tensor:
        return -F.softplus(self.log_odds)

    @property
    def lse(self) -> Tensor:
        """Finite also where the target's own logit is minus infinity."""
        odds_N = self.log_odds
        rest_N = self.sum_N.log() + self.shift_N
        return torch.where(odds_N > 0, rest_N + F.softplus(-odds_N), self.target_N + F.softplus(odds_N))

    @property
    def entropy(self) -> Tensor:
        """H(target or not) + (1 - p) * H(rest): every term is at least 0, so nothing cancels.

        H(rest) is itself a difference; where one other token has all of the rest it rounds to just below 0.
        """
        odds_N = self.log_odds
        some_N = self.sum_N > 0
        rest_N = torch.where(some_N, (self.sum_N.log() - self.moment_N / self.sum_N).clamp_min(0), 0.0)
        of_target_N = torch.where(odds_N.isinf(), 0.0, torch.sigmoid(-odds_N) * F.softplus(odds_N))
        of_rest_N = torch.where(some_N, torch.sigmoid(odds_N) * (F.softplus(-odds_N) + rest_N), 0.0)
        return of_target_N + of_rest_N


def fold_all(batch: HeadBatch, engine: Engine, *, moment: bool, store_NV: Tensor | None = None) -> Statistics:
    """Fold the whole vocabulary around each row's target; rows that leave the range are folded again."""
    target_N = engine.target_logits(batch)
    shift_N = target_N + MARGIN
    sums = engine.fold(batch, 0, batch.vocab, shift_N, store_NC=store_NV, moment=moment)
    stats = Statistics(target_N, shift_N, sums.sum_N, sums.moment_N)
    index_K = rows_out_of_range(stats.sum_N)
    return stats if index_K is None else _fold_again(batch, engine, stats, index_K, store_NV)


def rows_out_of_range(sum_N: Tensor) -> Tensor | None:
    """Indices of rows whose sum is too large (or not a number), or None. Synchronises a GPU once."""
    if sum_N.is_cuda and torch.cuda.is_current_stream_capturing():
        # Nothing may synchronise here. Such rows keep an infinite sum, hence logp = -inf: loud, not wrong.
        return None
    index_K = (~(sum_N <= LIMIT)).nonzero()[:, 0]
    return index_K if index_K.numel() else None


def _fold_again(
    batch: HeadBatch, engine: Engine, stats: Statistics, index_K: Tensor, store_NV: Tensor | None
) -> Statistics:
    part = batch.take(index_K)
    shift_K = row_max(part)
    store_KV = None if store_NV is None else store_NV.new_empty(part.n, batch.vocab)
    sums = engine.fold(part, 0, batch.vocab, shift_K, store_NC=store_KV, moment=bool(stats.moment_N.numel()))
    if store_NV is not None and store_KV is not None:
        store_NV.index_copy_(0, index_K, store_KV)
    moment_N = stats.moment_N.index_copy(0, index_K, sums.moment_N) if stats.moment_N.numel() else stats.moment_N
    return Statistics(
        stats.target_N,
        stats.shift_N.index_copy(0, index_K, shift_K),
        stats.sum_N.index_copy(0, index_K, sums.sum_N),
        moment_N,
    )


def row_max(batch: HeadBatch) -> Tensor:
    """[N] largest logit of each row."""
    best_N = torch.full_like(batch.new_wide(batch.n), -torch.inf)
    for left in range(0, batch.vocab, _MAX_COLUMNS):
        right = min(left + _MAX_COLUMNS, batch.vocab)
        z_NC = tile_logits(batch, left, right, batch.new_wide(batch.n, right - left))
        best_N = torch.maximum(best_N, z_NC.amax(1))
    return best_N
