"""Advantages, ratios and KL terms against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cai.train.rl.advantages import (
    gae,
    group_advantages,
    kl_estimate,
    place_at_end,
    rloo_advantages,
    spo_advantages,
    whiten,
)
from cai.train.rl.kl import KLControl
from cai.train.rl.losses import clipped_policy, clipped_value, explained_variance, sequence_ratio, token_ratio


def t(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_gae_by_hand():
    # gamma = 1/2, lambda = 1/2, rewards (0, 0, 1), values (1, 2, 3).
    # delta: 0 + 1/2*2 - 1 = 0; 0 + 1/2*3 - 2 = -1/2; 1 - 3 = -2.
    # A_2 = -2; A_1 = -1/2 + 1/4*(-2) = -1; A_0 = 0 + 1/4*(-1) = -1/4. Returns A + V.
    advantages, returns = gae(t([0, 0, 1]), t([1, 2, 3]), t([1, 1, 1]), gamma=0.5, lam=0.5)
    assert torch.equal(advantages, t([-0.25, -1, -2]))
    assert torch.equal(returns, t([0.75, 1, 1]))


def test_gae_of_a_short_reply_does_not_see_the_padding():
    short, _ = gae(t([0, 1]), t([1, 2]), t([1, 1]), gamma=0.9, lam=0.8)
    padded, returns = gae(t([0, 1, 99]), t([1, 2, 77]), t([1, 1, 0]), gamma=0.9, lam=0.8)
    assert torch.allclose(padded[:, :2], short)
    assert padded[0, 2] == 0
    assert returns[0, 2] == 0


def test_whiten_by_hand():
    # Values 1 and 3 under the mask: mean 2, population deviation 1; 100 is padding.
    white = whiten(t([1, 100, 3]), t([1, 0, 1]))
    assert torch.allclose(white, t([-1, 0, 1]), atol=1e-7)
    kept = whiten(t([1, 100, 3]), t([1, 0, 1]), keep_mean=True)
    assert torch.allclose(kept, t([1, 0, 3]), atol=1e-7)


def test_group_advantages_by_hand():
    # (0, 2): mean 1, sample deviation sqrt(2); (5, 5) does not vary.
    advantages = group_advantages(t([0, 2], [5, 5]))
    expected = 1 / (math.sqrt(2) + 1e-4)
    assert torch.allclose(advantages, t([-expected, expected], [0, 0]))
    unscaled = group_advantages(t([0, 2]), scale=False)
    assert torch.equal(unscaled, t([-1, 1]))


def test_equal_rewards_with_rounding_noise_in_the_mean_still_give_zero():
    advantages = group_advantages(torch.full((1, 3), 0.1))
    assert torch.equal(advantages, torch.zeros(1, 3))


def test_rloo_by_hand():
    # Rewards (1, 2, 6): others' means 4, 3.5, 1.5.
    assert torch.allclose(rloo_advantages(t([1, 2, 6])), t([-3, -1.5, 4.5]))
    with pytest.raises(ValueError, match="two replies"):
        rloo_advantages(t([1]))


def test_spo_by_hand():
    # Reply 0 beats 1 with 0.9 and 2 with 0.7: mean 0.8, advantage 0.3. The diagonal is never read.
    wins = t([[9, 0.9, 0.7], [0.1, 9, 0.5], [0.3, 0.5, 9]]).view(1, 3, 3)
    assert torch.allclose(spo_advantages(wins), t([0.3, -0.2, -0.1]))


def test_kl_estimators_by_hand():
    # log ratio ln 2: k1 = ln 2, k2 = (ln 2)^2 / 2, k3 = 1/2 - 1 + ln 2.
    logp, ref = t([math.log(0.5)]), t([math.log(0.25)])
    ln2 = math.log(2)
    assert kl_estimate(logp, ref, "k1").item() == pytest.approx(ln2)
    assert kl_estimate(logp, ref, "k2").item() == pytest.approx(ln2**2 / 2)
    assert kl_estimate(logp, ref, "k3").item() == pytest.approx(ln2 - 0.5)
    with pytest.raises(ValueError, match="k1, k2 or k3"):
        kl_estimate(logp, ref, "k4")


def test_k1_and_k3_estimate_the_true_kl():
    torch.manual_seed(0)
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    true = (p * (p / q).log()).sum()
    drawn = torch.multinomial(p, 200_000, replacement=True)
    for kind in ("k1", "k3"):
        assert kl_estimate(p.log()[drawn], q.log()[drawn], kind).mean().item() == pytest.approx(true.item(), abs=0.01)


@given(st.integers(0, 5), st.integers(0, 4))
def test_reward_lands_on_the_last_real_token(length, padding):
    mask = torch.tensor([[1.0] * length + [0.0] * padding]).reshape(1, length + padding)
    if mask.shape[1] == 0:
        return
    rewards = place_at_end(torch.tensor([2.5]), mask)
    assert rewards.sum() == (2.5 if length else 0.0)
    assert length == 0 or rewards[0, length - 1] == 2.5


def test_clip_by_hand():
    # A = 1: ratio 1.5 is held at 1.2, ratio 0.5 is not held. A = -1: 0.5 is held at 0.8, 1.5 is not.
    clipped = clipped_policy(t([1.5, 0.5, 0.5, 1.5]), t([1, 1, -1, -1]), low=0.2, high=0.2)
    assert torch.allclose(clipped.loss_BT, t([-1.2, -0.5, 0.8, 1.5]))
    assert torch.equal(clipped.clipped_BT, t([1, 0, 1, 0]))


def test_value_clip_by_hand():
    # Old value 0, return 1. New value 0.9 is held at 0.2: error 0.8^2/2 instead of 0.1^2/2. New value -1: plain error
    # 4/2.
    clipped = clipped_value(t([0.9, -1]), t([0, 0]), t([1, 1]), clip=0.2)
    assert torch.allclose(clipped.loss_BT, t([0.32, 2]))
    assert torch.equal(clipped.clipped_BT, t([1, 0]))


def test_ratios_by_hand():
    logp, old, mask = t([math.log(2), math.log(8), 5]), t([0, 0, 0]), t([1, 1, 0])
    assert torch.allclose(token_ratio(logp, old)[0, :2], t([2, 8])[0])
    assert torch.allclose(sequence_ratio(logp, old, mask), t([4, 4, 4]))


def test_explained_variance():
    returns, mask = t([1, 2, 3, 50]), t([1, 1, 1, 0])
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.zeros_like(returns), returns, mask) == pytest.approx(0.0)
    assert math.isnan(explained_variance(returns, t([1, 1, 1, 50]), mask))


def test_adaptive_kl_by_hand():
    # Measured 12 against a target of 6: error clipped to 0.2, times 100 / 1000.
    assert KLControl(0.1, 6.0, 1000).after(12.0, 100).coefficient == pytest.approx(0.1 * 1.02)
    assert KLControl(0.1, 6.0, 1000).after(5.4, 100).coefficient == pytest.approx(0.1 * 0.99)
    assert KLControl(0.1).after(12.0, 100).coefficient == 0.1
    # A step of more replies than the horizon counts as one horizon: the coefficient never turns negative.
    assert KLControl(0.1, 6.0, 1).after(0.0, 128).coefficient == pytest.approx(0.1 * 0.8)
