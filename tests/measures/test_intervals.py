"""Statistics against simulated data whose truth is known, and against numbers worked out by hand."""

import math

import numpy as np
import pytest

from cai.measures.intervals import (
    BOOTSTRAP_CLUSTERS,
    cohen_kappa,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    wilson,
)


def clustered_pair(rng: np.random.Generator, questions: int, effect: float):
    """Two binary outcomes a prompt, several prompts a question, correlated within a question; b has rate a + effect."""
    rate_q = rng.beta(3, 5, size=questions)
    sizes_q = rng.integers(1, 6, size=questions)
    a, b, names = [], [], []
    for q in range(questions):
        for _ in range(sizes_q[q]):
            a.append(float(rng.random() < rate_q[q]))
            b.append(float(rng.random() < min(1.0, rate_q[q] + effect)))
            names.append(f"q{q}")
    return a, b, names


@pytest.mark.parametrize(
    "questions", [60, pytest.param(30, marks=pytest.mark.slow), pytest.param(120, marks=pytest.mark.slow)]
)
def test_intervals_cover_the_true_difference(questions):
    rng = np.random.default_rng(questions + 1)
    covered = 0
    for i in range(1000):
        a, b, names = clustered_pair(rng, questions, effect=0.0)
        d = paired_difference(a, b, names, seed=i, resamples=400)
        covered += d.low <= 0.0 <= d.high
    assert 930 <= covered <= 970, covered


def test_a_difference_of_the_detectable_size_is_found():
    rng = np.random.default_rng(7)
    a, b, names = clustered_pair(rng, 200, effect=0.0)
    effect = paired_difference(a, b, names, seed=0).detectable
    found = sum(
        paired_difference(*clustered_pair(rng, 200, effect)[:3], seed=i, resamples=400).shown for i in range(300)
    )
    # Promised are 80 % and asked 78; 300 repetitions of 80 % fall below 74 % with a chance of about 1 %. The slow test
    # in tests/compare repeats it often enough to tell 78 from 80.
    assert found >= 0.74 * 300, found


def test_clusters_widen_the_interval():
    values = [1.0] * 50 + [0.0] * 50
    alone = mean_interval(values, seed=0)
    grouped = mean_interval(values, [f"q{i // 10}" for i in range(100)], seed=0)
    assert grouped.clusters == 10
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_bootstrap_and_normal_interval_agree_where_they_meet():
    values = np.random.default_rng(0).random(BOOTSTRAP_CLUSTERS + 1)
    normal = mean_interval(values, seed=0)
    boot = mean_interval(values[:-1], seed=0)
    assert normal.low == pytest.approx(boot.low, abs=1e-3)
    assert normal.high == pytest.approx(boot.high, abs=1e-3)


def test_identical_samples_differ_by_exactly_zero():
    d = paired_difference([0.0, 1.0, 1.0], [0.0, 1.0, 1.0], seed=0)
    assert (d.value, d.low, d.high, d.shown) == (0.0, 0.0, 0.0, False)


def test_one_cluster_says_that_it_knows_nothing():
    d = paired_difference([0.0, 0.0], [1.0, 1.0], ["q", "q"], seed=0)
    assert d.low == -math.inf
    assert not d.shown


def test_same_seed_same_interval():
    a, b = list(np.random.default_rng(1).random((2, 40)))
    assert paired_difference(a, b, seed=3) == paired_difference(a, b, seed=3)


@pytest.mark.parametrize(("a", "b", "names"), [([1.0], [1.0, 0.0], None), ([], [], None), ([1.0], [1.0], ["x", "y"])])
def test_unequal_or_empty_samples_are_refused(a, b, names):
    with pytest.raises(ValueError, match=r"differ|no observations|cluster names"):
        paired_difference(a, b, names, seed=0)


def test_by_hand():
    # McNemar exact, 8 flips one way and 2 the other: 2 * P(Bin(10, 1/2) <= 2) = 2 * 56 / 1024.
    assert mcnemar(8, 2) == pytest.approx(112 / 1024)
    # Holm on (0.01, 0.04, 0.03): 3 * 0.01, then 2 * 0.03, then max(that, 0.04).
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()
    # Kappa: agreement 3/4, chance 1/2 * 3/4 + 1/2 * 1/4 = 1/2.
    assert cohen_kappa(["x", "x", "y", "y"], ["x", "x", "x", "y"]) == pytest.approx(0.5)
    # Wilson for 0 of 10: upper end z^2 / (n + z^2).
    assert wilson(0, 10) == pytest.approx((0.0, 1.959964**2 / (10 + 1.959964**2)), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
