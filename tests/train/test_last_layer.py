"""What the last layer is spared changes neither a log-prob, nor a reward, nor a gradient."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from cai.train import last_layer
from cai.train.batches import Group, make_rows
from cai.train.last_layer import only_scored
from cai.train.scoring import attach_logprobs
from tests.train.conftest import CONFIGS, tiny_model


def long_prompts(least: int = 5) -> list[Group]:
    """Two replies to each prompt; nothing is scored where a row begins, with 20 in more than half of it."""
    rng = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(64) for _ in range(rng.randint(low, high)))

    return [Group(ids(least, 22), (ids(1, 9), ids(1, 9))) for _ in range(4)]


def learned(kind: str, share: bool, least: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and the gradient of a weighted sum of them."""
    model = tiny_model(kind)
    attach_logprobs(model)
    logp_N = model(**make_rows(long_prompts(least), pad=0, share=share).inputs())["logp_N"]
    weights = torch.randn(len(logp_N), generator=torch.Generator().manual_seed(0))
    (logp_N * weights).sum().backward()
    return logp_N.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("least", [5, 20])
def test_what_is_scored_does_not_change(kind: str, share: bool, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spared = learned(kind, share, least)
    monkeypatch.setattr(last_layer, "only_scored", lambda *_: nullcontext())
    whole = learned(kind, share, least)
    torch.testing.assert_close(spared[0], whole[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(spared[1], whole[1], atol=1e-5, rtol=1e-5)


def test_only_scored_positions_reach_the_last_mlp_and_only_later_ones_ask() -> None:
    model: Any = tiny_model("llama")
    rows = make_rows([Group((5, 6, 7, 8), ((9, 10), (11,)))], pad=0, share=True)
    attach_logprobs(model)
    seen: list[tuple[int, ...]] = []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_hook(lambda _, args, out: seen.append(tuple(args[0].shape[:2])))
    model(**rows.inputs())
    assert seen == [(1, 7), (1, 2)]  # of 7 positions, 3 and 4: both replies' first tokens are predicted from 3
    attention = model.model.layers[-1].self_attn
    with only_scored(model.model, rows.input_ids_BT, rows.score_at_N):
        assert attention.first_scored == 3
        assert attention.config is not model.config
    assert attention.config is model.config
    seen.clear()
    model(input_ids=rows.input_ids_BT)
    assert seen == [(1, 7), (1, 7)]


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    model: Any = tiny_model("llama")
    rows = make_rows(long_prompts(), pad=0, share=False)
    want = model(input_ids=rows.input_ids_BT).logits
    with pytest.raises(KeyboardInterrupt), only_scored(model.model, rows.input_ids_BT, rows.score_at_N):
        raise KeyboardInterrupt
    torch.testing.assert_close(model(input_ids=rows.input_ids_BT).logits, want, atol=0, rtol=0)


def test_gradient_checkpointing_keeps_the_whole_layer() -> None:
    model: Any = tiny_model("llama")
    attach_logprobs(model)
    rows = make_rows(long_prompts(), pad=0, share=False)
    model.train()
    model(**rows.inputs())["logp_N"].sum().backward()
    want = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**rows.inputs())["logp_N"].sum().backward()
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), want, atol=1e-5, rtol=1e-5)
