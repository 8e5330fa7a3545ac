"""From verdicts to one probability, and the plans that choose who meets."""

import asyncio
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.constitution.model import Constitution, Principle
from cai.errors import InputError
from cai.judge.combine import combine, flips, over_judges, over_orders, per_judge
from cai.judge.draw import draw_principles, importance, judging
from cai.judge.plan import run_plan
from cai.judge.ranking import bradley_terry, entropy
from cai.records import Comparison, Order, Verdict
from tests.judge.shown import prompt


def vote(p_a: float | None, order: Order = "ab", principle: str = "p", judge: str = "j", **more: bool) -> Verdict:
    return Verdict(principle=principle, judge=judge, mode="logprob", order=order, p_a=p_a, mass=0.9, raw="", **more)


PS = st.none() | st.floats(0.0, 1.0)


@given(PS, st.sampled_from(["ab", "ba"]), st.booleans(), st.booleans())
def test_swapping_twice_changes_nothing(p: float | None, order: Order, tie: bool, cannot: bool) -> None:
    one = vote(p, order, tie=tie, cannot_tell=cannot)
    twice = one.swap().swap()
    assert twice.order == one.order
    assert (twice.p_a is None) == (one.p_a is None)
    if p is not None:
        assert twice.p_a == pytest.approx(p)
        assert one.swap().p_a == pytest.approx(1 - p)
    assert twice.model_copy(update={"p_a": None}) == one.model_copy(update={"p_a": None})


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4))
def test_swapped_votes_give_the_opposite_label(ps: list[tuple[float, float]]) -> None:
    votes = [
        vote(p, order, principle=str(i))
        for i, both in enumerate(ps)
        for p, order in zip(both, ("ab", "ba"), strict=True)
    ]
    there = combine(votes, {})
    back = combine([one.swap() for one in votes], {})
    assert there is not None
    assert back is not None
    assert there + back == pytest.approx(1.0)


def test_orders_are_averaged_or_a_flip_is_a_tie() -> None:
    both = [vote(0.9, "ab"), vote(0.3, "ba")]
    assert flips(both)
    assert over_orders(both) == pytest.approx(0.6)
    assert over_orders(both, "tie") == 0.5
    assert over_orders([vote(0.9, "ab"), vote(0.7, "ba")], "tie") == pytest.approx(0.8)


def test_half_of_a_swapped_pair_is_no_vote() -> None:
    assert over_orders([vote(0.9, "ab"), vote(None, "ba")]) is None
    votes = [vote(0.9, "ab"), vote(None, "ba"), vote(0.4, "ab", "q"), vote(0.2, "ba", "q")]
    assert combine(votes, {}) == pytest.approx(0.3)
    assert combine(votes[:2], {}) is None


def test_principles_count_by_their_weight() -> None:
    votes = [vote(0.8, principle="p"), vote(0.2, principle="q")]
    assert per_judge(votes, {"p": 3.0, "q": 1.0}) == {"j": pytest.approx((3 * 0.8 + 0.2) / 4)}
    strong = Principle(id="p", judge="?", weight=1.5, priority=2)
    assert importance(strong, "all") == 1.5
    assert importance(strong, "priority") == 6.0


def test_judges_vote_by_majority_or_by_log_odds() -> None:
    ps = {"x": 0.9, "y": 0.6, "z": 0.2}
    assert over_judges(ps, "majority") == pytest.approx(2 / 3)
    assert over_judges({"x": 0.9, "y": 0.5}, "majority") == 0.75
    mean = (math.log(9) + math.log(1.5) + math.log(0.25)) / 3
    assert over_judges(ps, "mean") == pytest.approx(1 / (1 + math.exp(-mean)))
    weighted = 2 * math.log(9) - math.log(0.25)
    assert over_judges(ps, "weighted", {"x": 2.0, "z": -1.0}) == pytest.approx(1 / (1 + math.exp(-weighted)))
    assert over_judges({}, "mean") is None


def test_one_sure_judge_does_not_outvote_all_others() -> None:
    p = over_judges({"sure": 1.0, "x": 0.1, "y": 0.1, "z": 0.1, "v": 0.1, "w": 0.1}, "mean")
    assert p is not None
    assert p < 0.5


FOUR = Constitution(
    name="four",
    principles=(
        Principle(id="a", judge="?", weight=6.0),
        Principle(id="b", judge="?"),
        Principle(id="c", judge="?"),
        Principle(id="silent", critique="!"),
    ),
)


def test_draws() -> None:
    prompts = [prompt(f"{n}?", category="odd" if n % 2 else "even") for n in range(400)]

    def counts(how: str) -> Counter[str]:
        draw = draw_principles(FOUR, how, 1)  # pyright: ignore[reportArgumentType]
        return Counter(drawn.id for one in prompts for drawn in draw(one))

    assert set(counts("random")) == {"a", "b", "c"}
    assert all(100 < count < 167 for count in counts("random").values())
    assert 270 < counts("weighted")["a"] < 330  # 400 x 6 / 8
    assert counts("all") == counts("priority") == {"a": 400, "b": 400, "c": 400}
    dealt = draw_principles(FOUR, "stratified", 1)
    by_category: dict[str, Counter[str]] = {"odd": Counter(), "even": Counter()}
    for one in prompts:
        by_category[one.category][dealt(one)[0].id] += 1
    assert all(sorted(count.values()) == [66, 67, 67] for count in by_category.values())


def test_a_random_draw_belongs_to_the_prompt() -> None:
    draw = draw_principles(FOUR, "random", 1)
    there = [draw(prompt(f"{n}?")) for n in range(20)]
    back = [draw(prompt(f"{n}?")) for n in reversed(range(20))]
    assert there == back[::-1]


def test_a_constitution_without_judge_voice_is_refused() -> None:
    with pytest.raises(InputError, match="no principle with a `judge` voice"):
        judging(Constitution(name="mute", principles=(Principle(id="c", critique="!"),)))


def play(values: list[float], plan: str) -> tuple[Comparison, ...]:
    """A plan under a judge that knows the true values."""

    async def compare(a: int, b: int) -> Comparison:
        assert a < b
        await asyncio.sleep(0)
        return Comparison(a=a, b=b, votes=(), p_a=1 / (1 + math.exp(values[b] - values[a])))

    return asyncio.run(run_plan(plan, len(values), compare))  # pyright: ignore[reportArgumentType]


@given(st.integers(2, 16), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_plans_ask_as_often_as_they_say_and_find_the_ends(K: int, random: Random) -> None:
    values = [float(n) for n in range(K)]
    random.shuffle(values)
    assert len(play(values, "all")) == K * (K - 1) // 2
    tournament = play(values, "tournament")
    assert len(tournament) == max(1, K - 1)
    best = values.index(max(values))
    assert {c.a for c in tournament} | {c.b for c in tournament} == set(range(K))
    assert all(((c.p_a or 0.0) > 0.5) == (c.a == best) for c in tournament if best in (c.a, c.b))
    ends = play(values, "best-worst")
    assert len({(c.a, c.b) for c in ends}) == len(ends) <= max(1, 3 * K // 2)
    assert {ends[-1].a, ends[-1].b} == {best, values.index(min(values))}


def test_strengths_order_the_replies_and_stay_finite() -> None:
    values = [0.3, -1.0, 2.0]
    strengths = bradley_terry(3, play(values, "all"))
    assert strengths is not None
    assert sum(strengths) == pytest.approx(0.0)
    # Soft comparisons of a Bradley-Terry judge give back its values up to the pull of the drawn games.
    assert strengths[2] - strengths[0] == pytest.approx(1.7, abs=0.1)
    sure = [Comparison(a=0, b=1, votes=(), p_a=1.0), Comparison(a=1, b=2, votes=(), p_a=1.0)]
    found = bradley_terry(3, sure)
    assert found is not None
    assert found[0] > found[1] > found[2]
    assert all(math.isfinite(x) for x in found)


def test_two_replies_or_nothing_read_have_no_strengths() -> None:
    assert bradley_terry(2, [Comparison(a=0, b=1, votes=(), p_a=0.9)]) is None
    assert bradley_terry(3, [Comparison(a=0, b=1, votes=(), p_a=None)]) is None


def test_entropy_in_bits() -> None:
    assert entropy(0.5) == 1.0
    assert entropy(1.0) == 0.0
    assert entropy(0.25) == pytest.approx(0.8113, abs=1e-4)
