"""Scores of a few named tokens per row: what a judge reads off one position."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cai.kernels.candidate_ops import candidate_logits_op
from cai.kernels.inputs import check_inputs, under_autocast
from cai.kernels.scoring import token_logprobs


def candidate_logprobs(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    ids: Tensor,
    *,
    normalise: Literal["vocab", "candidates"] = "vocab",
    row_index: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    valid_vocab: int | None = None,
    plan: str = "auto",
    budget_bytes: int | None = None,
    engine: str = "auto",
) -> Tensor:
    """[N, K] log-probabilities of `ids` [N, K], or [K] for every row; float32, differentiable.

    Under softmax over the whole vocabulary, or, with `normalise="candidates"`, over the K alone: then the head is read
    only at those rows and a large vocabulary costs nothing. Raises ValueError as `token_logprobs` does.
    """
    hidden_MD, weight_VD, bias = under_autocast(hidden_MD, weight_VD, bias)
    vocab = weight_VD.shape[0] if valid_vocab is None else valid_vocab
    n = hidden_MD.shape[0] if row_index is None else row_index.shape[0]
    if ids.dim() not in (1, 2) or ids.shape[-1] == 0:
        raise ValueError(f"ids must have shape [K] or [N, K] with K > 0, got {tuple(ids.shape)}")
    if ids.dim() == 2 and ids.shape[0] != n:
        raise ValueError(f"ids has {ids.shape[0]} rows for {n} to score")
    if normalise not in ("vocab", "candidates"):
        raise ValueError(f"normalise must be 'vocab' or 'candidates', got {normalise!r}")
    ids_NK = ids.expand(n, -1).contiguous()
    check_inputs(hidden_MD, weight_VD, bias, ids_NK[:, 0], row_index, vocab)
    cap = None if softcap is None else float(softcap)
    z_NK = candidate_logits_op(
        hidden_MD, weight_VD, bias, ids_NK, row_index, float(logit_scale), cap, float(temperature), vocab, engine
    )
    if normalise == "candidates":
        return z_NK.log_softmax(-1)
    # Anchored at the likeliest candidate: its own log-prob is exact, and no other one can come out above it.
    best_N1 = z_NK.detach().nan_to_num(nan=-torch.inf).argmax(-1, keepdim=True)
    best = token_logprobs(
        hidden_MD,
        weight_VD,
        ids_NK.gather(1, best_N1)[:, 0],
        row_index=row_index,
        bias=bias,
        temperature=temperature,
        logit_scale=logit_scale,
        softcap=softcap,
        valid_vocab=valid_vocab,
        plan=plan,
        budget_bytes=budget_bytes,
        engine=engine,
    )
    gap_NK = z_NK - z_NK.gather(1, best_N1)
    # A token whose logit is minus infinity stays impossible where the best one is, too: there the gap is no number.
    return best.logp_N[:, None] + gap_NK.masked_fill(z_NK == -torch.inf, -torch.inf)
