"""Custom op: differentiable logits of a few named tokens per row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cai.kernels import engines
from cai.kernels.batch import wide_dtype
from cai.kernels.inputs import check_values
from cai.kernels.logit_map import LogitMap
from cai.kernels.rows import add_rows, make_batch


@torch.library.custom_op("cai::candidate_logits", mutates_args=())
def candidate_logits_op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    engine: str,
) -> Tensor:
    """[N, K] logits of `ids` [N, K] in the wide dtype."""
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        check_values(ids.flatten(), row_index, hidden.shape[0], valid_vocab, name="ids")
        logit_map = LogitMap(logit_scale, softcap, temperature)
        batch = make_batch(hidden, weight, bias, ids[:, 0], row_index, logit_map, valid_vocab)
        return engines.choose(engine, batch).dots(batch, ids)


@candidate_logits_op.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    valid_vocab: int,
    engine: str,
) -> Tensor:
    return hidden.new_empty(ids.shape, dtype=wide_dtype(hidden.dtype))


@torch.library.custom_op("cai::candidate_logits_backward", mutates_args=())
def candidate_logits_backward(
    grad: Tensor,
    z: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden, weight and bias; empty where not needed. Only the named rows of the head are touched."""
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        logit_map = LogitMap(logit_scale, softcap, temperature)
        raw_NK = grad * logit_map.factor
        if softcap is not None:
            raw_NK = raw_NK * logit_map.flatness(z)
        hidden_ND = hidden if row_index is None else hidden[row_index.long()]
        grad_hidden, grad_weight, grad_bias = (weight.new_empty(0) for _ in range(3))
        if need_hidden:
            grad_ND = torch.zeros(hidden_ND.shape, dtype=z.dtype, device=z.device)
            for k in range(ids.shape[1]):
                grad_ND += weight[ids[:, k].long()] * raw_NK[:, k, None]
            grad_hidden = grad_ND.to(hidden.dtype)
            if row_index is not None:
                grad_hidden = add_rows(grad_ND, hidden, row_index)
        if need_weight:
            rows_NKD = (hidden_ND[:, None] * raw_NK[..., None]).flatten(0, 1)
            grad_weight = add_rows(rows_NKD, weight, ids.flatten())
        if need_bias and bias is not None:
            grad_bias = add_rows(raw_NK.flatten(), bias, ids.flatten())
        return grad_hidden, grad_weight, grad_bias


@candidate_logits_backward.register_fake
def _(
    grad: Tensor,
    z: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    row_index: Tensor | None,
    logit_scale: float,
    softcap: float | None,
    temperature: float,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden.new_empty(hidden.shape) if need_hidden else weight.new_empty(0),
        weight.new_empty(weight.shape) if need_weight else weight.new_empty(0),
        bias.new_empty(bias.shape) if need_bias and bias is not None else weight.new_empty(0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    hidden, weight, bias, ids, row_index, logit_scale, softcap, temperature, _, _ = inputs
    ctx.save_for_backward(hidden, weight, bias, ids, row_index, output)
    ctx.settings = (logit_scale, softcap, temperature)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    hidden, weight, bias, ids, row_index, z = ctx.saved_tensors
    needed = ctx.needs_input_grad[:3]
    grads = candidate_logits_backward(grad, z, hidden, weight, bias, ids, row_index, *ctx.settings, *needed)
    return (*(part if need else None for part, need in zip(grads, needed, strict=True)), *[None] * 7)


candidate_logits_op.register_autograd(_backward, setup_context=_setup)
