"""`token_logprobs`: the public op."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cai.kernels.inputs import check_ids, check_inputs, under_autocast
from cai.kernels.ops import token_scores
from cai.kernels.planner import Problem, checked_plan, default_budget
from cai.kernels.scores import TokenScores
from cai.kernels.segments import segment_sums


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

    `row_index` [N] names the hidden row behind each target, and one row may serve several; without it row n serves n.
    `valid_vocab` leaves padding rows of the head out of the softmax. Entropy is a number to look at unless
    `return_entropy="grad"`. `cu_seqlens` [S + 1] asks for float64 sums over segments. `plan` and `budget_bytes` (of
    memory for what is kept between forward and backward and for tiles) trade memory against head products, see
    `planner.py`; `engine` is "auto", "torch", "triton" or "cublas".
    Gradients reach hidden, weight and bias from any of logp, lse, sums and (if asked) entropy, once: no second order.

    Raises ValueError for shapes, dtypes or settings that do not fit, and on CPU for targets outside the vocabulary (a
    GPU is not stopped to look: there such a token's log-prob is NaN).
    """
    hidden_MD, weight_VD, bias = under_autocast(hidden_MD, weight_VD, bias)
    vocab = weight_VD.shape[0] if valid_vocab is None else valid_vocab
    check_inputs(hidden_MD, weight_VD, bias, targets_N, row_index, vocab)
    if cu_seqlens is not None:
        check_ids("cu_seqlens", cu_seqlens, least=1)
    if return_entropy not in (False, True, "metric", "grad"):
        raise ValueError(f"return_entropy must be a bool, 'metric' or 'grad', got {return_entropy!r}")
    budget = default_budget(hidden_MD.device) if budget_bytes is None else budget_bytes
    grads = torch.is_grad_enabled()
    problem = Problem(
        n=targets_N.shape[0],
        hidden=hidden_MD.shape[1],
        vocab=vocab,
        dtype=hidden_MD.dtype,
        native=hidden_MD.is_cuda or engine not in ("auto", "torch"),
        needs_hidden=grads and hidden_MD.requires_grad,
        needs_head=grads and (weight_VD.requires_grad or (bias is not None and bias.requires_grad)),
        needs_entropy_grad=grads and return_entropy == "grad",
    )
    mapping = (float(logit_scale), None if softcap is None else float(softcap), float(temperature))
    chosen = checked_plan(plan, problem, budget)
    logp_N, entropy_N, lse_N, _, _ = token_scores(
        hidden_MD, weight_VD, bias, targets_N, row_index, *mapping, vocab, bool(return_entropy),
        chosen.name, chosen.cached_rows, engine, budget,
    )  # fmt: skip
    return TokenScores(
        logp_N,
        None if not return_entropy else entropy_N if return_entropy == "grad" else entropy_N.detach(),
        lse_N if return_lse else None,
        None if cu_seqlens is None else segment_sums(logp_N, cu_seqlens),
    )
