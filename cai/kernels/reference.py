"""The meaning of every kernel here, in plain torch that holds all logits. The fast paths only have to agree with it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from cai.kernels.logit_map import LogitMap
from cai.kernels.scores import TokenScores


def logits(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, logit_map: LogitMap, valid_vocab: int | None
) -> Tensor:
    """[N, valid_vocab] logits, accumulated in float32, or in float64 when the inputs are float64."""
    wide = torch.promote_types(hidden_ND.dtype, torch.float32)
    raw_NV = hidden_ND.to(wide) @ weight_VD[:valid_vocab].to(wide).T
    if bias_V is not None:
        raw_NV = raw_NV + bias_V[:valid_vocab].to(wide)
    return logit_map.apply(raw_NV)


def reference_token_logprobs(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    row_index: Tensor | None = None,
    bias: Tensor | None = None,
    logit_map: LogitMap | None = None,
    valid_vocab: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> TokenScores:
    """All four scores by definition: softmax over the first `valid_vocab` entries of the head, differentiable."""
    hidden_ND = hidden_MD if row_index is None else hidden_MD[row_index.long()]
    z_NV = logits(hidden_ND, weight_VD, bias, logit_map or LogitMap(), valid_vocab)
    lse_N = z_NV.logsumexp(-1)
    logp_NV = z_NV - lse_N[:, None]
    logp_N = logp_NV.gather(-1, targets_N.long()[:, None])[:, 0]
    # A logit of minus infinity has probability 0 and adds 0 to the entropy, where 0 * inf would be NaN.
    p_NV = logp_NV.exp()
    entropy_N = -torch.where(p_NV > 0, p_NV * logp_NV, 0.0).sum(-1)
    sum_S = None
    if cu_seqlens is not None:
        ends = cu_seqlens.tolist()
        sums = [logp_N[start:end].double().sum() for start, end in pairwise(ends)]
        sum_S = torch.stack(sums) if sums else logp_N.new_zeros(0, dtype=torch.float64)
    return TokenScores(logp_N, entropy_N, lse_N, sum_S)
