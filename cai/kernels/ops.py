"""The custom ops behind the public functions: opaque to torch.compile, with shapes it can trace and a backward.

Nothing in here decides: plan, cached rows and budget come in as plain values, so that shapes follow from the arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cai.kernels import engines
from cai.kernels.backward import Mixing, Saved, Wanted, backward
from cai.kernels.batch import wide_dtype
from cai.kernels.candidate_ops import candidate_logits_backward
from cai.kernels.forward import forward_cached, forward_frozen, gain
from cai.kernels.inputs import check_values
from cai.kernels.logit_map import LogitMap
from cai.kernels.planner import choose_tiles, padded
from cai.kernels.rows import make_batch, pad_rows, to_rows
from cai.kernels.statistics import fold_all


@torch.library.custom_op("cai::token_scores", mutates_args=())
def token_scores(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    want_entropy: bool,
    plan: str,
    cached_rows: int,
    engine: str,
    budget: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(logp_N, entropy_N or empty, lse_N, gain_K, kept): `kept` is E [K, padded V], unit gradients [N, D], or empty."""
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        check_values(targets, row_index, hidden.shape[0], valid_vocab)
        logit_map = LogitMap(logit_scale, softcap, temperature)
        batch = make_batch(hidden, weight, bias, targets, row_index, logit_map, valid_vocab)
        chosen = engines.choose(engine, batch)
        tiles = choose_tiles(
            batch.n,
            batch.vocab,
            hidden.dtype,
            on_gpu=hidden.is_cuda,
            native=hidden.is_cuda or chosen.native,
            budget_bytes=budget,
        )
        gain_K, kept = hidden.new_empty(0, dtype=batch.wide), hidden.new_empty(0)
        if plan == "frozen":
            kept = torch.empty_like(batch.hidden_ND, memory_format=torch.contiguous_format)
            stats = forward_frozen(batch, chosen, tiles, kept, moment=want_entropy)
        elif cached_rows:
            kept = hidden.new_empty(cached_rows, padded(valid_vocab))
            kept[:, valid_vocab:] = 0
            stats = forward_cached(batch, chosen, kept[:, :valid_vocab], moment=want_entropy)
            gain_K = gain(stats)[:cached_rows].clone()
        else:
            stats = fold_all(batch, chosen, moment=want_entropy)
        entropy_N = stats.entropy if want_entropy else hidden.new_empty(0, dtype=batch.wide)
        return stats.logp, entropy_N, stats.lse, gain_K, kept


@token_scores.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    want_entropy: bool,
    plan: str,
    cached_rows: int,
    engine: str,
    budget: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    n, wide = targets.shape[0], wide_dtype(hidden.dtype)
    kept = hidden.new_empty(0)
    if plan == "frozen":
        kept = hidden.new_empty(n, hidden.shape[1])
    elif cached_rows:
        kept = hidden.new_empty(cached_rows, padded(valid_vocab))
    return (
        hidden.new_empty(n, dtype=wide),
        hidden.new_empty(n if want_entropy else 0, dtype=wide),
        hidden.new_empty(n, dtype=wide),
        hidden.new_empty(cached_rows, dtype=wide),
        kept,
    )


@torch.library.custom_op("cai::token_scores_backward", mutates_args=())
def token_scores_backward(
    grad_logp: Tensor,
    grad_entropy: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_index: Tensor | None,
    logp: Tensor,
    entropy: Tensor,
    lse: Tensor,
    gain: Tensor,
    kept: Tensor,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    plan: str,
    engine: str,
    budget: int,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden, weight and bias; empty where not needed."""
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        if plan == "frozen":
            grad_ND = kept * grad_logp[:, None]
            return to_rows(grad_ND, hidden, row_index), weight.new_empty(0), weight.new_empty(0)
        logit_map = LogitMap(logit_scale, softcap, temperature)
        batch = make_batch(hidden, weight, bias, targets, row_index, logit_map, valid_vocab)
        chosen = engines.choose(engine, batch)
        tiles = choose_tiles(
            batch.n,
            batch.vocab,
            hidden.dtype,
            on_gpu=hidden.is_cuda,
            native=hidden.is_cuda or chosen.native,
            budget_bytes=budget,
        )
        if gain.shape[0] == batch.n and batch.n:
            tiles = tiles._replace(columns=valid_vocab)
        cache_KV = kept[:, :valid_vocab] if gain.shape[0] else hidden.new_empty(0, valid_vocab)
        saved = Saved(lse, logp, entropy, gain, cache_KV)
        mixing = Mixing.of(grad_logp, grad_entropy, entropy)
        wanted = Wanted(need_hidden, need_weight, need_bias)
        grads = backward(batch, chosen, tiles, saved, mixing, wanted)
        return (
            weight.new_empty(0) if grads.hidden_ND is None else to_rows(grads.hidden_ND, hidden, row_index),
            weight.new_empty(0) if grads.weight_VD is None else pad_rows(grads.weight_VD, weight),
            weight.new_empty(0)
            if grads.bias_V is None or bias is None
            else pad_rows(grads.bias_V.to(bias.dtype), bias),
        )


@token_scores_backward.register_fake
def _(
    grad_logp: Tensor,
    grad_entropy: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_index: Tensor | None,
    logp: Tensor,
    entropy: Tensor,
    lse: Tensor,
    gain: Tensor,
    kept: Tensor,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    plan: str,
    engine: str,
    budget: int,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden.new_empty(hidden.shape) if need_hidden else weight.new_empty(0),
        weight.new_empty(weight.shape) if need_weight else weight.new_empty(0),
        bias.new_empty(bias.shape) if need_bias and bias is not None else weight.new_empty(0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, targets, row_index, *rest = inputs
    ctx.save_for_backward(hidden, weight, bias, targets, row_index, *output)
    ctx.set_materialize_grads(False)
    ctx.settings = rest


def _backward(
    ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None, grad_lse: Tensor | None, *_: Tensor | None
) -> tuple[Any, ...]:
    hidden, weight, bias, targets, row_index, logp, entropy, lse, gain, kept = ctx.saved_tensors
    logit_scale, softcap, temperature, valid_vocab, _entropy, plan, _rows, engine, budget = ctx.settings
    need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
    if plan == "score":
        raise RuntimeError("log-probs scored without gradients cannot be differentiated")
    if grad_lse is not None:  # lse = t - logp; the share of t is added below
        grad_logp = -grad_lse if grad_logp is None else grad_logp - grad_lse
    grads: list[Tensor | None] = [None, None, None]
    if grad_logp is not None or grad_entropy is not None:
        grads = list(
            token_scores_backward(
                torch.zeros_like(logp) if grad_logp is None else grad_logp.contiguous(),
                None if grad_entropy is None else grad_entropy.contiguous(),
                hidden, weight, bias, targets, row_index, logp, entropy, lse, gain, kept,
                logit_scale, softcap, temperature, valid_vocab, plan, engine, budget,
                need_hidden, need_weight, need_bias,
            )
        )  # fmt: skip
    if grad_lse is not None:
        of_target = candidate_logits_backward(
            grad_lse[:, None].contiguous(), (logp + lse)[:, None], hidden, weight, bias, targets[:, None], row_index,
            logit_scale, softcap, temperature, need_hidden, need_weight, need_bias,
        )  # fmt: skip
        grads = [a if a is None else a + b for a, b in zip(grads, of_target, strict=True)]
    needed = (need_hidden, need_weight, need_bias)
    return (*(grad if need else None for grad, need in zip(grads, needed, strict=True)), *[None] * 11)


token_scores.register_autograd(_backward, setup_context=_setup)
