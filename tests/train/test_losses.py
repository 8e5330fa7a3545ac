"""Every loss by hand, its soft label at 0, 1/2 and 1, its gradient in float64, and its batch split into singles."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cai.train.kto import reference_point
from cai.train.losses import PREFERENCE, best_of_k_loss, bradley_terry_loss, centring_loss, sft_loss
from cai.train.preferences import PairScores, soft_logistic

LOSSES = {
    "dpo": partial(PREFERENCE["dpo"], beta=0.3),
    "ipo": partial(PREFERENCE["ipo"], beta=0.3),
    "slic": partial(PREFERENCE["slic"], delta=1.0, weight=0.1),
    "orpo": partial(PREFERENCE["orpo"], weight=0.5),
    "kto": partial(PREFERENCE["kto"], beta=0.3),
    "sppo": partial(PREFERENCE["sppo"], beta=0.3),
}


def scores(size: int = 8, seed: int = 0, p: float | None = None) -> PairScores:
    """Random ragged pairs: log-probs are negative, lengths between 2 and 30 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def rand() -> Tensor:
        return torch.rand(size, generator=generator, dtype=torch.float64)

    drawn = rand()
    tokens_c, tokens_r = (rand() * 28 + 2).floor(), (rand() * 28 + 2).floor()
    return PairScores(
        chosen_B=-rand() * tokens_c,
        rejected_B=-rand() * tokens_r,
        ref_chosen_B=-rand() * tokens_c,
        ref_rejected_B=-rand() * tokens_r,
        chosen_tokens_B=tokens_c,
        rejected_tokens_B=tokens_r,
        p_B=drawn if p is None else torch.full((size,), p, dtype=torch.float64),
        extra_B=-rand() * tokens_c,
        point_B=torch.full((size,), 0.4, dtype=torch.float64),
    )


def one(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, p: float, **extra: float) -> PairScores:
    """A single pair of two-token replies."""

    def t(x: float) -> Tensor:
        return torch.tensor([x], dtype=torch.float64)

    more = {name: t(value) for name, value in extra.items()}
    return PairScores(t(chosen), t(rejected), t(ref_chosen), t(ref_rejected), t(2.0), t(2.0), t(p), **more)


def at(row: PairScores, i: int) -> PairScores:
    return PairScores(**{f.name: getattr(row, f.name)[i : i + 1] for f in fields(row)})


# Ratios: chosen -3 - -5 = +2, rejected -4 - -3 = -1, so the difference is 3.
HAND = one(-3.0, -4.0, -5.0, -3.0, p=0.8, extra_B=-2.0, point_B=1.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 0.3 * 3 = 0.9; s(0.9) = 0.710950: -(0.8 ln 0.710950 + 0.2 ln 0.289050) = 0.272923 + 0.248231
        ("dpo", 0.521154),
        # (3 / 2 tokens - (0.8 - 0.5) / 0.3)^2 = (1.5 - 1)^2
        ("ipo", 0.25),
        # the margin is -3 - -4 = 1: 0.8 * max(0, 1 - 1) + 0.2 * max(0, 1 + 1) - 0.1 * -2 = 0 + 0.4 + 0.2
        ("slic", 0.6),
        # q_c = e^-1.5 = 0.223130, odds 0.287217; q_r = e^-2 = 0.135335, odds 0.156518; m = ln 1.835045 = 0.607069;
        # s(m) = 0.647272; 1.5 + 0.5 * -(0.8 ln 0.647272 + 0.2 ln 0.352728) = 1.5 + 0.5 * (0.347991 + 0.208412)
        ("orpo", 1.778201),
        # z = 1; s(0.3 (2 - 1)) = 0.574443, s(0.3 (-1 - 1)) = 0.354344;
        # chosen 0.8 * 0.425557 + 0.2 * 0.574443 = 0.455334; rejected 0.2 * 0.645656 + 0.8 * 0.354344 = 0.412606
        ("kto", 0.867940),
        # (2 - 0.3 / 0.3)^2 + (-1 + 0.3 / 0.3)^2 = 1 + 0
        ("sppo", 1.0),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    assert LOSSES[name](HAND).item() == pytest.approx(expected, abs=2e-6)


def test_reward_losses_by_hand() -> None:
    two, one_, p = torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([0.75])
    # s(1) = 0.731059: -(0.75 ln 0.731059 + 0.25 ln 0.268941) = 0.234946 + 0.328315
    assert bradley_terry_loss(two, one_, p).item() == pytest.approx(0.563262, abs=1e-6)
    # margin 0.5, p = 1: -ln s(0.5) = -ln 0.622459
    assert bradley_terry_loss(two, one_, torch.ones(1), torch.tensor([0.5])).item() == pytest.approx(0.474077, abs=1e-6)
    # rewards ln 1, ln 2, ln 5: softmax 1/8, 2/8, 5/8; one-hot on the last: -ln 0.625
    rewards, inf = torch.tensor([[1.0, 2.0, 5.0]]).log(), float("-inf")
    assert best_of_k_loss(rewards, torch.tensor([[0.0, 0.0, 1.0]])).item() == pytest.approx(0.470004, abs=1e-6)
    # a padded reply takes no probability: 2/3 and 1/3 of ln 2, ln 1 against (1/2, 1/2)
    padded = best_of_k_loss(torch.tensor([[0.693147, 0.0, inf]]), torch.tensor([[0.5, 0.5, 0.0]]))
    assert padded.item() == pytest.approx(0.752039, abs=1e-5)
    assert centring_loss(two, one_).item() == pytest.approx(9.0)
    assert sft_loss(torch.tensor([-1.0, -3.0])).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("name", LOSSES)
def test_soft_labels_of_one_and_zero_are_the_hard_loss(name: str) -> None:
    sure = scores(p=1.0)
    torch.testing.assert_close(LOSSES[name](sure), LOSSES[name](scores(), hard=True))
    exchanged = replace(
        sure,
        chosen_B=sure.rejected_B,
        rejected_B=sure.chosen_B,
        ref_chosen_B=sure.ref_rejected_B,
        ref_rejected_B=sure.ref_chosen_B,
        chosen_tokens_B=sure.rejected_tokens_B,
        rejected_tokens_B=sure.chosen_tokens_B,
    )
    if name == "orpo":  # its supervised term stays with the reply named chosen
        return
    torch.testing.assert_close(LOSSES[name](scores(p=0.0)), LOSSES[name](exchanged))


def test_hard_reward_loss_is_the_soft_one_at_certainty() -> None:
    a, b = torch.randn(8), torch.randn(8)
    torch.testing.assert_close(bradley_terry_loss(a, b, torch.ones(8)), -torch.nn.functional.logsigmoid(a - b))
    torch.testing.assert_close(bradley_terry_loss(a, b, torch.zeros(8)), -torch.nn.functional.logsigmoid(b - a))
    pair = torch.stack([a, b], dim=1)
    target = torch.tensor([[0.7, 0.3]]).expand(8, 2)
    torch.testing.assert_close(best_of_k_loss(pair, target), bradley_terry_loss(a, b, torch.full((8,), 0.7)))


@pytest.mark.parametrize("name", ["dpo", "ipo", "sppo"])
def test_an_undecided_label_pulls_the_margin_to_zero(name: str) -> None:
    start = scores(p=0.5)
    chosen_B = start.chosen_B.clone().requires_grad_()
    rejected_B = start.rejected_B.clone().requires_grad_()
    optimizer = torch.optim.Adam([chosen_B, rejected_B], lr=0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        LOSSES[name](replace(start, chosen_B=chosen_B, rejected_B=rejected_B)).sum().backward()
        optimizer.step()
    end = replace(start, chosen_B=chosen_B.detach(), rejected_B=rejected_B.detach())
    ratio_c, ratio_r = end.chosen_B - end.ref_chosen_B, end.rejected_B - end.ref_rejected_B
    if name == "ipo":
        ratio_c, ratio_r = ratio_c / end.chosen_tokens_B, ratio_r / end.rejected_tokens_B
    assert (ratio_c - ratio_r).abs().max() < 1e-2


@settings(max_examples=50, deadline=None)
@given(st.floats(-30, 30), st.floats(0, 1))
def test_soft_logistic_is_least_at_the_label(margin: float, p: float) -> None:
    m, label = torch.tensor([margin], dtype=torch.float64), torch.tensor([p], dtype=torch.float64)
    best = torch.special.logit(label, eps=1e-12)
    assert soft_logistic(m, label).item() >= soft_logistic(best, label).item() - 1e-9


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    start = scores(4, seed=3)

    def loss(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
        return LOSSES[name](replace(start, chosen_B=chosen_B, rejected_B=rejected_B))

    torch.autograd.gradcheck(loss, (start.chosen_B.requires_grad_(), start.rejected_B.requires_grad_()))


def test_gradcheck_of_reward_losses() -> None:
    a, b = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    p, margin = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x, y: bradley_terry_loss(x, y, p, margin), (a, b))
    rewards = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    target_GK = torch.rand(3, 4).double().softmax(-1)
    torch.autograd.gradcheck(lambda r: best_of_k_loss(r, target_GK), (rewards,))


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_eight_is_eight_batches_of_one(name: str) -> None:
    batch = scores(8, seed=5)
    torch.testing.assert_close(LOSSES[name](batch), torch.cat([LOSSES[name](at(batch, i)) for i in range(8)]))


def test_kto_reference_point_is_the_clamped_mean() -> None:
    assert reference_point(6.0, 4) == 1.5
    assert reference_point(-6.0, 4) == 0.0


def test_odds_of_certainty_are_finite() -> None:
    sure = one(0.0, -4.0, 0.0, 0.0, p=1.0)
    assert torch.isfinite(LOSSES["orpo"](sure)).all()
