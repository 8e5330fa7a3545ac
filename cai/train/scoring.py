"""Teach a `transformers` model to answer `model(..., score_at_N=…)` with log-probs or rewards instead of full logits.

The wrapped call goes through the model's own `forward`, so hooks of DDP, FSDP and PEFT fire as in any training.
Shapes: B rows, T positions, N scored tokens, S replies, V vocabulary, D hidden; `score_at_N` holds indices into the
flattened [B * T] positions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cai.errors import InputError
from cai.kernels import token_logprobs
from cai.train.last_layer import scored_hidden


@dataclass(frozen=True, slots=True)
class HeadShape:
    """How a model turns a raw dot product into a logit: scale, then soft-cap."""

    scale: float
    softcap: float | None


def head_shape(config: Any) -> HeadShape:
    """Read the scale and soft-cap off a model's config (Gemma, Cohere, Falcon-H1, Granite name them differently)."""
    text = config.get_text_config()
    scale = next((s for n in ("logit_scale", "lm_head_multiplier") if (s := getattr(text, n, None)) is not None), None)
    if scale is None and (divisor := getattr(text, "logits_scaling", None)) is not None:
        scale = 1.0 / divisor
    return HeadShape(1.0 if scale is None else float(scale), getattr(text, "final_logit_softcapping", None))


def bare(model: Any) -> Any:
    """The `transformers` model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def attach_logprobs(model: nn.Module, *, full_logits: bool = False) -> None:
    """Give a causal language model the call `model(input_ids, …, score_at_N=, score_targets_N=)` -> {"logp_N"}.

    With `full_logits` the model's own logits are built and indexed: slower, and right for any head; it is the
    fallback when `first_batch_agrees` says that the head does more than a dot product.
    """
    target = bare(model)
    shape = head_shape(target.config)
    original = target.forward

    @functools.wraps(original)
    def forward(
        *args: Any, score_at_N: Tensor | None = None, score_targets_N: Tensor | None = None, **kwargs: Any
    ) -> Any:
        if score_at_N is None or score_targets_N is None:
            return original(*args, **kwargs)
        if full_logits:
            logits_MV = original(*args, **{**kwargs, "use_cache": False}).logits.flatten(0, 1)
            logp_NV = torch.log_softmax(logits_MV[score_at_N.long()].float(), dim=-1)
            return {"logp_N": logp_NV.gather(-1, score_targets_N.long()[:, None])[:, 0]}
        # The head is looked up at each call: FSDP swaps its parameters after this wrapper is made.
        head, hidden_MD = target.get_output_embeddings(), scored_hidden(target.base_model, kwargs, score_at_N)
        hidden_MD, weight_VD, bias = cast_for_head(hidden_MD, head.weight, head.bias)
        scores = token_logprobs(
            hidden_MD,
            weight_VD,
            score_targets_N,
            row_index=score_at_N,
            bias=bias,
            logit_scale=shape.scale,
            softcap=shape.softcap,
        )
        return {"logp_N": scores.logp_N}

    target.forward = forward


def cast_for_head(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both operands in one dtype: autocast's where it is on, else the hidden state's."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def attach_rewards(model: nn.Module) -> None:
    """Give a one-label sequence classifier the call `model(input_ids, …, score_at_N=ends_S)` -> {"reward_S"}.

    The position is ours to say, so a reward never lands on padding, whatever the pad token is.
    """
    target = bare(model)
    original = target.forward
    if getattr(target, "score", None) is None:
        raise InputError(
            f"{type(target).__name__} has no `score` head",
            "train the reward model from a decoder such as Llama or Qwen",
        )

    @functools.wraps(original)
    def forward(*args: Any, score_at_N: Tensor | None = None, **kwargs: Any) -> Any:
        if score_at_N is None:
            return original(*args, **kwargs)
        hidden_MD = scored_hidden(target.base_model, kwargs, score_at_N)
        # No view: FSDP hangs its hooks on what is returned.
        return {"reward_S": target.score(hidden_MD[score_at_N.long()])[:, 0].float().clone()}

    target.forward = forward


@torch.no_grad()
def first_batch_agrees(model: nn.Module, inputs: dict[str, Tensor], *, tolerance: float = 1e-3) -> float | None:
    """The largest difference of a log-prob from the model's own logits if it is above `tolerance`, else None.

    Run on the first batch, because a fused head that is wrong (a scale this file does not know) trains without any
    other sign.
    """
    was_training = model.training
    model.eval()
    plain = {k: v for k, v in inputs.items() if not k.startswith("score_")}
    logits_MV = model(**plain, use_cache=False).logits.flatten(0, 1)
    logp_NV = torch.log_softmax(logits_MV[inputs["score_at_N"].long()].float(), dim=-1)
    want_N = logp_NV.gather(-1, inputs["score_targets_N"].long()[:, None])[:, 0]
    got_N = model(**inputs)["logp_N"].float()
    model.train(was_training)
    worst = (got_N - want_N).abs().max().item() if len(want_N) else 0.0
    return worst if not worst <= tolerance else None
