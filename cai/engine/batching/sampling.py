"""Tokens drawn from logits with each request's own random number: the same row and number give the same token."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_tokens(logits_RV: Tensor, temperature_R: Tensor, top_p_R: Tensor, uniform_R: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row by inversion of the cumulative distribution, and its log-prob in what it was drawn from.

    Temperature 0 takes the most likely token, with its log-prob at temperature 1. With top_p below 1 the smallest set
    of most likely tokens that holds top_p is kept and renormalised (Holtzman et al., 2020). Computed in float64.
    """
    greedy_R = temperature_R == 0
    scale_R = torch.where(greedy_R, torch.ones_like(temperature_R), temperature_R)
    logp_RV = torch.log_softmax(logits_RV.double() / scale_R[:, None], -1)
    narrowed_R = (top_p_R < 1) & ~greedy_R
    if bool(narrowed_R.any()):
        logp_RV[narrowed_R] = _keep_top(logp_RV[narrowed_R], top_p_R[narrowed_R])
    sums_RV = logp_RV.exp().cumsum(-1)
    target_R1 = (uniform_R * sums_RV[:, -1])[:, None]
    drawn_R = torch.searchsorted(sums_RV, target_R1, right=True)[:, 0]
    # Rounding may put the target on the last sum; the last token with any probability is meant then.
    last_R = torch.searchsorted(sums_RV, sums_RV[:, -1:].contiguous())[:, 0]
    tokens_R = torch.where(greedy_R, logits_RV.argmax(-1), torch.minimum(drawn_R, last_R))
    return tokens_R, logp_RV.gather(-1, tokens_R[:, None])[:, 0]


def _keep_top(logp_RV: Tensor, top_p_R: Tensor) -> Tensor:
    ordered_RV, order_RV = logp_RV.sort(dim=-1, descending=True, stable=True)
    before_RV = ordered_RV.exp().cumsum(-1) - ordered_RV.exp()
    ordered_RV = ordered_RV.masked_fill(before_RV >= top_p_R[:, None], float("-inf"))
    kept_RV = torch.empty_like(logp_RV).scatter_(-1, order_RV, ordered_RV)
    return torch.log_softmax(kept_RV, -1)
