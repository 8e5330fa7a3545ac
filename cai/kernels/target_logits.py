"""Exact logits of a few named tokens per row: a gather and a dot product, no matter how large the vocabulary is."""

from __future__ import annotations

import torch
from torch import Tensor

from cai.kernels.batch import HeadBatch

_ROWS = 1024  # rows gathered at a time: bounds the copy of head rows


def candidate_logits(batch: HeadBatch, ids_NK: Tensor) -> Tensor:
    """[N, K] logits of `ids_NK` in the wide dtype; NaN where an id lies outside the vocabulary."""
    raw_NK = torch.empty(ids_NK.shape, dtype=batch.wide, device=batch.hidden_ND.device)
    step = max(1, _ROWS // max(1, ids_NK.shape[1]))
    for start in range(0, batch.n, step):
        ids_RK = ids_NK[start : start + step].long()
        known_RK = (ids_RK >= 0) & (ids_RK < batch.vocab)
        safe_RK = ids_RK.clamp(0, batch.vocab - 1)
        rows_RKD = batch.weight_VD[safe_RK].to(batch.wide)
        raw_RK = (rows_RKD * batch.hidden_ND[start : start + step, None].to(batch.wide)).sum(-1)
        if batch.bias_V is not None:
            raw_RK += batch.bias_V[safe_RK]
        raw_NK[start : start + step] = torch.where(known_RK, raw_RK, torch.nan)
    return batch.logit_map.apply_(raw_NK)
