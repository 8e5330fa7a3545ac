"""Spare the last decoder layer what nothing reads: after it, only scored positions meet a head.

Its keys and values are needed everywhere, its queries and its MLP only where something is scored. What is scored does
not change; elsewhere the hidden states that come back mean nothing. B rows, T positions, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface

from cai.train.linears import fast_linears

NAME = "cai_scored_tail"


def scored_hidden(body: Any, inputs: Mapping[str, Tensor], score_at_N: Tensor) -> Tensor:
    """The last hidden states [B * T, D] of `body(**inputs)`, right at `score_at_N`."""
    # Gradient checkpointing runs the layers again outside of here, and wants them to keep the same tensors.
    linears = nullcontext() if body.is_gradient_checkpointing else fast_linears()
    with linears, only_scored(body, inputs["input_ids"], score_at_N):
        return body(**{**inputs, "use_cache": False}).last_hidden_state.flatten(0, 1)


@contextmanager
def only_scored(body: Any, input_ids_BT: Tensor, score_at_N: Tensor) -> Iterator[None]:
    """While it is open, `body(input_ids_BT, …)` need be right at `score_at_N`, of the flattened [B * T], alone.

    Changes nothing for a model whose layers are not of the usual make, nor under gradient checkpointing, which runs the
    layer again when this is closed.
    """
    layer = next(reversed(getattr(body, "layers", ())), None)
    mlp = getattr(layer, "mlp", None)
    if not hasattr(mlp, "down_proj") or body.is_gradient_checkpointing or not len(score_at_N):
        yield
        return
    # Each reply to a prompt scores the prompt's last position.
    at_N = score_at_N.long().unique()
    first = int((at_N % input_ids_BT.shape[1]).min())
    with _rows_of(mlp, at_N, input_ids_BT.shape), _queries_from(getattr(layer, "self_attn", None), first):
        yield


@contextmanager
def _rows_of(mlp: Any, at_N: Tensor, shape: tuple[int, ...]) -> Iterator[None]:
    """`mlp`, which takes each position by itself, gets those of `at_N` and gives zeros elsewhere."""

    def gather(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1).index_select(0, at_N)[None],)

    def spread(_: nn.Module, args: tuple[Tensor, ...], out_1ND: Tensor) -> Tensor:
        out_MD = out_1ND.new_zeros(shape[0] * shape[1], out_1ND.shape[-1])
        return out_MD.index_copy(0, at_N, out_1ND[0]).view(*shape, -1)

    hooks = mlp.register_forward_pre_hook(gather), mlp.register_forward_hook(spread)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _queries_from(attention: Any, first: int) -> Iterator[None]:
    """`attention` has queries from position `first` of each row on, and gives zeros before."""
    config = getattr(attention, "config", None)
    if not first or config is None or config._attn_implementation != "sdpa":
        yield
        return
    attention.config, attention.first_scored = copy(config), first
    attention.config._attn_implementation = NAME
    try:
        yield
    finally:
        attention.config = config


def _tail_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """SDPA with the queries [B, heads, T, size] of the row's end; out is [B, T, heads, size].

    Without a mask the kernel skips what no query sees, half of all pairs, which beats a masked tail of more than half
    the row; on a GPU it is a faster kernel too, and needs no memory for a mask.
    """
    first, length = module.first_scored, query.shape[2]
    sdpa: Any = AttentionInterface()["sdpa"]
    if attention_mask is not None:
        tail = attention_mask[:, :, first:]
    elif query.device.type == "cpu" and 2 * first > length:
        tail = torch.ones(length - first, length, dtype=torch.bool).tril(first)[None, None]
    else:
        return sdpa(module, query, key, value, None, **options)
    out, _ = sdpa(module, query[:, :, first:], key, value, tail, **options)
    return pad(out, (0, 0, 0, 0, first, 0)), None


AttentionInterface.register(NAME, _tail_attention)  # type: ignore[arg-type]
