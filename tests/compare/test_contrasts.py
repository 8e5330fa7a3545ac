"""Paired differences by hand, their correction, and what is said where nothing is shown."""

import math

import pytest

from cai.compare.headline import not_shown, shown
from cai.compare.outcomes import BY_NAME, Outcome, edit_share, run_overlap
from cai.compare.sides import clusters_of
from cai.measures.contrast import contrast, corrected
from tests.compare.made import ask

SHARE = Outcome("share", "share", "lower", lambda chain: None, primary=True)


def test_a_difference_by_hand():
    # 100 prompts: 30 only on side a, 10 only on side b, 20 on both: 50 % against 30 %, 20 points fewer.
    xs = [1.0] * 30 + [0.0] * 10 + [1.0] * 20 + [0.0] * 40
    ys = [0.0] * 30 + [1.0] * 10 + [1.0] * 20 + [0.0] * 40
    found = contrast(SHARE, "a", "b", xs, ys, [str(n) for n in range(100)], seed=0)
    assert (found.a_mean, found.b_mean, found.only_a, found.only_b) == (0.5, 0.3, 30, 10)
    assert found.difference == pytest.approx(-0.2)
    # Standard error of a mean of 40 ones in absolute value: sqrt((0.40 - 0.04) / 99) = 0.0603; z or t about 1.98.
    assert found.low == pytest.approx(-0.2 - 1.98 * 0.0603, abs=0.012)
    assert found.high == pytest.approx(-0.2 + 1.98 * 0.0603, abs=0.012)
    # Student's t with 99 degrees of freedom: 1.984 for the interval, 0.845 for four times in five.
    assert found.detectable == pytest.approx((1.984 + 0.845) * math.sqrt(0.36 / 99), rel=1e-3)
    # Exact McNemar: 10 or fewer of 40 fair coins, both tails.
    assert found.mcnemar == pytest.approx(2 * sum(math.comb(40, k) for k in range(11)) / 2**40)
    assert found.shown
    assert found.improves
    assert shown(found).startswith("20.0 points fewer share, 95 % interval")


def test_equal_sides_leave_room_for_rare_differences():
    found = contrast(SHARE, "a", "b", [0.0] * 50, [0.0] * 50, [str(n) for n in range(50)], seed=0)
    assert found.difference == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert not found.shown
    assert "no difference shown in share (n = 50, smallest detectable 7.1 points)" in not_shown([found])


def test_sides_that_always_differ_leave_room_for_prompts_where_they_do_not():
    found = contrast(SHARE, "a", "b", [1.0] * 20, [0.0] * 20, [str(n) for n in range(20)], seed=0)
    assert (found.low, found.difference) == (-1.0, -1.0)
    # Twenty of twenty has a chance of 2.5 % where each is so with 0.025^(1/20); the rest may be the other way round.
    assert found.high == pytest.approx(1 - 2 * 0.025 ** (1 / 20))
    assert (found.shown, found.p) == (True, 2 * 0.5**20)
    few = contrast(SHARE, "a", "b", [1.0] * 5, [0.0] * 5, [str(n) for n in range(5)], seed=0)
    assert (few.shown, few.p) == (False, 0.0625)  # the sign test needs six of six


def test_one_question_in_many_wordings_shows_nothing():
    found = contrast(SHARE, "a", "b", [1.0] * 40, [0.0] * 40, ["same"] * 40, seed=0)
    assert (found.low, found.high, found.detectable, found.shown) == (None, None, None, False)


def test_only_outcomes_named_beforehand_escape_the_correction():
    found = contrast(SHARE, "a", "b", [1.0, 0.0] * 30, [0.0, 0.0] * 30, [str(n) for n in range(60)], seed=0)
    rest = [found.model_copy(update={"outcome": f"o{n}", "primary": False, "p": p}) for n, p in enumerate((0.02, 0.5))]
    primary, first, second = corrected([found, *rest])
    assert primary.p_holm == primary.p
    assert (first.p_holm, second.p_holm) == (0.04, 0.5)  # Holm: 2 x 0.02, then max(0.04, 1 x 0.5)
    assert first.shown
    assert not second.shown


def test_distances_by_hand():
    assert edit_share("a b c d", "a b c e") == pytest.approx(0.25)  # 1 - 2 x 3 / 8
    assert edit_share("", "") == 0.0
    assert run_overlap(["a", "b", "c"], ["a", "b", "d"]) == pytest.approx(1 / 3)  # {ab, bc} and {ab, bd}
    assert BY_NAME["refusal"].better == "neither"


def test_variants_that_differ_in_marks_are_one_question():
    one, two, other, empty = clusters_of([ask("How? Why!"), ask("how  why"), ask("how where"), ask("?!")])
    assert one == two
    assert len({one, other, empty}) == 3
