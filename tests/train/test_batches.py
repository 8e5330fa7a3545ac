"""Compaction and prefix sharing change no log-prob and no gradient, on every architecture people train."""

from __future__ import annotations

import random

import pytest
import torch

from cai.train.batches import Group, make_rows, sharing_pays
from cai.train.scoring import attach_logprobs, first_batch_agrees
from tests.train.conftest import CONFIGS, tiny_model

PAD = 0


def ragged(seed: int = 0, count: int = 8, replies: int = 2) -> list[Group]:
    rng = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(0, 64) for _ in range(rng.randint(low, high)))  # the pad id occurs in texts too

    return [Group(ids(1, 20), tuple(ids(1, 9) for _ in range(replies))) for _ in range(count)]


def by_definition(model: torch.nn.Module, groups: list[Group]) -> torch.Tensor:
    """Each reply alone, no padding, no mask, the model's own logits in float32."""
    parts = []
    for group in groups:
        for reply in group.replies:
            ids = torch.tensor([[*group.prompt, *reply]])
            logp = torch.log_softmax(model(input_ids=ids).logits[0, :-1], dim=-1)
            start = len(group.prompt) - 1
            parts.append(logp[torch.arange(start, ids.shape[1] - 1), ids[0, start + 1 :]])
    return torch.cat(parts)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("share", [False, True])
def test_log_probs_are_those_of_each_reply_alone(kind: str, share: bool) -> None:
    model, groups = tiny_model(kind), ragged(replies=3)
    want = by_definition(model, groups)
    attach_logprobs(model)
    got = model(**make_rows(groups, pad=PAD, share=share).inputs())["logp_N"]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_eager_attention_shares_by_an_additive_mask() -> None:
    groups = ragged()
    want = by_definition(tiny_model("llama"), groups)
    eager = tiny_model("llama", attention="eager")
    attach_logprobs(eager)
    rows = make_rows(groups, pad=PAD, share=True, attention="eager")
    assert rows.mask_B1TT is not None
    assert rows.mask_B1TT.dtype == torch.float32
    torch.testing.assert_close(eager(**rows.inputs())["logp_N"], want, atol=1e-5, rtol=0)


def test_a_bool_mask_on_eager_attention_is_the_trap_we_avoid() -> None:
    """If this ever passes with the bool mask, `transformers` has fixed it and the eager branch can go."""
    groups = ragged()
    eager = tiny_model("llama", attention="eager")
    want = by_definition(eager, groups)
    attach_logprobs(eager)
    wrong = eager(**make_rows(groups, pad=PAD, share=True, attention="sdpa").inputs())["logp_N"]
    assert (wrong - want).abs().max() > 0.01


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients_are_equal_in_both_layouts(kind: str) -> None:
    groups, norms = ragged(seed=1), []
    weights = torch.randn(sum(len(r) for g in groups for r in g.replies), generator=torch.Generator().manual_seed(0))
    for share in (False, True):
        model = tiny_model(kind)
        attach_logprobs(model)
        (model(**make_rows(groups, pad=PAD, share=share).inputs())["logp_N"] * weights).sum().backward()
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(norms[0], norms[1], atol=1e-4, rtol=1e-4)
    assert norms[0].norm() == pytest.approx(norms[1].norm().item(), rel=1e-5)


def test_a_batch_of_eight_has_the_gradient_of_eight_ones_over_the_tokens_of_the_step() -> None:
    groups = ragged(seed=2, replies=1)
    total = sum(len(r) for g in groups for r in g.replies)
    gradients = []
    for parts in ([groups], [[g] for g in groups]):
        model = tiny_model("qwen")
        attach_logprobs(model)
        for part in parts:
            (-model(**make_rows(part, pad=PAD, share=False).inputs())["logp_N"].sum() / total).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_positions_targets_and_ends_by_hand() -> None:
    rows = make_rows([Group((5, 6), ((7, 8), (9,)))], pad=PAD, share=True)
    assert rows.input_ids_BT.tolist() == [[5, 6, 7, 8, 9]]
    assert rows.position_ids_BT.tolist() == [[0, 1, 2, 3, 2]]
    assert rows.score_at_N.tolist() == [1, 2, 1]  # the prompt's last token predicts the first token of both replies
    assert rows.score_targets_N.tolist() == [7, 8, 9]
    assert rows.cu_seqlens.tolist() == [0, 2, 3]
    assert rows.ends_S.tolist() == [3, 4]
    assert rows.mask_B1TT is not None
    assert rows.mask_B1TT[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_sharing_is_for_long_prompts_with_several_replies() -> None:
    assert sharing_pays([Group((1,) * 448, ((2,) * 64, (2,) * 64))])
    assert not sharing_pays([Group((1,) * 64, ((2,) * 64, (2,) * 64))])
    assert not sharing_pays([Group((1,) * 448, ((2,) * 64,))])
    assert sharing_pays([Group((1,) * 21, ((2,) * 21,) * 4)])
    assert not sharing_pays([Group((1,) * 256, ((2,) * 256,) * 2)])


def test_the_first_batch_check_sees_a_head_it_does_not_know() -> None:
    model, rows = tiny_model("llama"), make_rows(ragged(), pad=PAD, share=False)
    attach_logprobs(model)
    assert first_batch_agrees(model, rows.inputs()) is None
    odd = tiny_model("llama")
    head = odd.lm_head.forward
    odd.lm_head.forward = lambda hidden: 1.5 * head(hidden)  # what an unknown multiplier looks like
    attach_logprobs(odd)
    assert (first_batch_agrees(odd, rows.inputs()) or 0) > 0.01
    fallback = tiny_model("llama")
    fallback.lm_head.forward = lambda hidden: 1.5 * head(hidden)
    attach_logprobs(fallback, full_logits=True)
    assert first_batch_agrees(fallback, rows.inputs()) is None
