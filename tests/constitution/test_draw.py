"""Which principle a round uses: it depends on the record alone, and every draw keeps its promise."""

from __future__ import annotations

from collections import Counter

import pytest

from cai.constitution import Constitution, Loop, Principle, by_priority, principle_for
from cai.constitution.model import Draw


def constitution(draw: Draw, *principles: Principle) -> Constitution:
    return Constitution(name="x", principles=principles, loop=Loop(draw=draw))


def speaks(id: str, weight: float = 1.0, priority: int = 0) -> Principle:
    return Principle(id=id, critique="c", revise="r", judge="j", weight=weight, priority=priority)


THREE = (speaks("a"), speaks("b", 2.0, 1), speaks("c", 5.0, 1))


def drawn(subject: Constitution, prompts: int, round: int = 0) -> list[str]:
    return [principle.id for i in range(prompts) for principle in principle_for(subject, 7, f"p{i}", round)]


@pytest.mark.parametrize("draw", ["random", "cycle", "weighted", "all"])
def test_the_same_record_draws_the_same(draw: Draw) -> None:
    subject = constitution(draw, *THREE)
    assert drawn(subject, 50) == drawn(subject, 50)


def test_the_draw_is_fixed_for_all_time() -> None:
    assert drawn(constitution("random", *THREE), 8) == ["c", "b", "a", "a", "a", "a", "b", "b"]


def test_random_is_even_and_independent_between_rounds() -> None:
    subject = constitution("random", *THREE)
    first, second = drawn(subject, 3_000), drawn(subject, 3_000, round=1)
    assert all(900 < count < 1_100 for count in Counter(first).values())
    assert all(270 < count < 400 for count in Counter(zip(first, second, strict=True)).values())


def test_weighted_follows_the_weights() -> None:
    counts = Counter(drawn(constitution("weighted", *THREE), 8_000))
    assert [round(counts[id] / 1_000, 1) for id in "abc"] == pytest.approx([1.0, 2.0, 5.0], abs=0.2)


def test_cycle_visits_each_once_and_starts_evenly() -> None:
    subject = constitution("cycle", *THREE)
    for prompt in ("p", "q", "r"):
        rounds = [principle_for(subject, 7, prompt, n)[0].id for n in range(6)]
        assert sorted(rounds[:3]) == ["a", "b", "c"]
        assert rounds[:3] == rounds[3:]
    assert all(900 < count < 1_100 for count in Counter(drawn(subject, 3_000)).values())


def test_all_gives_every_one_by_priority() -> None:
    assert drawn(constitution("all", *THREE), 1) == ["b", "c", "a"]
    assert [p.id for p in by_priority(THREE)] == ["b", "c", "a"]


@pytest.mark.parametrize("draw", ["random", "cycle", "weighted", "all"])
def test_a_principle_for_the_judge_alone_is_never_drawn(draw: Draw) -> None:
    mute = Principle(id="mute", judge="Which?")
    assert set(drawn(constitution(draw, mute, speaks("a")), 50)) == {"a"}
    assert principle_for(constitution(draw, mute), 7, "p", 0) == ()
    assert principle_for(constitution(draw), 7, "p", 0) == ()


def test_another_seed_or_prompt_draws_anew() -> None:
    subject = constitution("random", *THREE)
    by_seed = {principle_for(subject, seed, "p", 0)[0].id for seed in range(20)}
    by_prompt = {principle_for(subject, 0, f"p{i}", 0)[0].id for i in range(20)}
    assert by_seed == by_prompt == {"a", "b", "c"}
