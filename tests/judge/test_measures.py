"""Calibration, agreement and learnt weights, each against numbers worked out by hand."""

from random import Random

import pytest

from cai.errors import InputError
from cai.judge.agreement import agreement
from cai.judge.calibration import accuracy, brier, calibration, ece, noise_floor, reliability
from cai.judge.combine import sigmoid
from cai.judge.weights import learn_weights, read_weights


def test_calibration_by_hand() -> None:
    ps, outcomes = [0.9, 0.9, 0.9, 0.9, 0.2, 0.2], [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    # Bin of 0.9: rate 3/4, gap 0.15, 4 of 6; bin of 0.2: rate 1/2, gap 0.3, 2 of 6.
    assert ece(ps, outcomes) == pytest.approx((4 * 0.15 + 2 * 0.3) / 6)
    assert brier(ps, outcomes) == pytest.approx((3 * 0.01 + 0.81 + 0.04 + 0.64) / 6)
    assert accuracy(ps, outcomes) == pytest.approx(4 / 6)
    assert [(b.n, round(b.p, 3), b.rate) for b in reliability(ps, outcomes)] == [(2, 0.2, 0.5), (4, 0.9, 0.75)]


def test_ties_of_people_leave_accuracy_alone_and_an_undecided_judge_is_half_right() -> None:
    assert accuracy([0.9, 0.5, 0.8], [1.0, 0.0, 0.5]) == pytest.approx(0.75)
    assert accuracy([0.9], [0.5]) is None


def test_the_noise_floor_is_what_a_perfect_judge_shows() -> None:
    # Published beside the floors of the public sets: about 0.10 at n = 100 and 0.03 at n = 1,000.
    rng = Random(0)
    many = [rng.random() for _ in range(1000)]
    assert noise_floor(many[:100], seed=0)[0] == pytest.approx(0.10, abs=0.02)
    assert noise_floor(many, seed=0)[0] == pytest.approx(0.03, abs=0.01)
    outcomes = [float(rng.random() < p) for p in many]
    found = calibration(many, outcomes)
    assert found.ece < found.ece_floor_95
    sure = calibration([0.99 if p > 0.5 else 0.01 for p in many], outcomes)
    assert sure.ece > 3 * sure.ece_floor_95  # the same choices, overconfident


def test_agreement_by_hand() -> None:
    x = {"1": 0.9, "2": 0.8, "3": 0.1, "4": 0.2}
    y = {"1": 0.7, "2": 0.3, "3": 0.4, "4": 0.1}
    found = agreement({"x": x, "y": y, "alone": {"9": 0.9}})
    # Names: x a a b b, y a b b b. Agreement 3/4, by chance 2/4 x 1/4 + 2/4 x 3/4 = 1/2: kappa 1/2.
    # Alpha: of 8 values 3 are a and 5 are b; 1 - (2 x 1/8) / (2 x 3 x 5 / (8 x 7)) = 1 - 0.25 / 0.5357.
    (two,) = found.pairs
    assert (two.x, two.y, two.n, two.disagreement) == ("x", "y", 4, 0.25)
    assert two.kappa == pytest.approx(0.5)
    assert found.alpha == pytest.approx(1 - 0.25 / (30 / 56))


def test_no_agreement_without_common_items_or_with_one_answer_only() -> None:
    assert agreement({"x": {"1": 0.9}, "y": {"2": 0.9}}).alpha is None
    same = agreement({"x": {"1": 0.9, "2": 0.9}, "y": {"1": 0.8, "2": 0.7}})
    assert same.alpha is None
    assert same.pairs[0].kappa is None
    assert same.pairs[0].disagreement == 0.0


def test_opposite_raters_conflict() -> None:
    x = {str(n): 0.9 if n % 2 else 0.1 for n in range(30)}
    found = agreement({"x": x, "y": {item: 1 - p for item, p in x.items()}})
    assert [two.disagreement for two in found.conflicts] == [1.0]
    assert found.alpha is not None
    assert found.alpha < -0.9


def test_learnt_weights_trust_the_judge_that_people_agree_with() -> None:
    rng = Random(1)
    truth = [rng.gauss(0, 2) for _ in range(300)]
    good = [sigmoid(t + rng.gauss(0, 0.5)) for t in truth]
    noise = [rng.random() for _ in truth]
    contrary = [1 - p for p in good]
    outcomes = [float(rng.random() < sigmoid(t)) for t in truth]
    ps = [{"good": g, "noise": n, "contrary": c} for g, n, c in zip(good, noise, contrary, strict=True)]
    weights = learn_weights(ps, outcomes).judges
    assert weights["good"] > 5 * abs(weights["noise"])
    assert weights["contrary"] < 0
    with pytest.raises(ValueError, match="at least 20"):
        learn_weights(ps[:10], outcomes[:10])


def test_a_file_that_holds_no_weights_is_refused(tmp_path) -> None:
    (tmp_path / "w.json").write_text("{}")
    with pytest.raises(InputError, match="not a file of judges' weights"):
        read_weights(tmp_path / "w.json")
