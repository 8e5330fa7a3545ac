"""`token_logprobs`: the public op."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from cai.kernels.logit_map import LogitMap
from cai.kernels.reference import reference_token_logprobs
from cai.kernels.scores import TokenScores


def token_logprobs(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    row_index: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    valid_vocab: int | None = None,
    return_entropy: bool | Literal["metric", "grad"] = False,
    return_lse: bool = False,
    cu_seqlens: Tensor | None = None,
    plan: str = "auto",
    budget_bytes: int | None = None,
    engine: str = "auto",
) -> TokenScores:
    """Log-probability of each target under softmax(z), z = softcap(logit_scale * (h . W^T + bias)) / temperature.

    `row_index` [N] names the hidden row behind each target (one row may serve several); without it row n scores target n.
    """
    scores = reference_token_logprobs(
        hidden_MD,
        weight_VD,
        targets_N,
        row_index=row_index,
        bias=bias,
        logit_map=LogitMap(logit_scale, softcap, temperature),
        valid_vocab=valid_vocab,
        cu_seqlens=cu_seqlens,
    )
    entropy_N = scores.entropy_N
    if return_entropy != "grad" and entropy_N is not None:
        entropy_N = entropy_N.detach()
    return TokenScores(
        scores.logp_N, entropy_N if return_entropy else None, scores.lse_N if return_lse else None, scores.sum_S
    )
