"""What a change of a constitution means, principle by principle."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cai.constitution import Constitution, Example, Loop, Principle, load_constitution, shipped_constitutions
from cai.constitution.diff import Change, diff

A = Principle(id="a", critique="Is it a?", revise="Make it a.", judge="Which is more a?")
B = Principle(id="b", critique="Is it b?", revise="Make it b.", judge="Which is more b?")


def made(*principles: Principle, **rest: Any) -> Constitution:
    return Constitution(name="x", principles=principles, **rest)


def test_added_and_removed() -> None:
    assert diff(made(A), made(B)) == [
        Change("removed", "a", before="Which is more a?"),
        Change("added", "b", after="Which is more b?"),
    ]


def test_a_renamed_principle_is_recognised() -> None:
    assert diff(made(A, B), made(A.model_copy(update={"id": "z"}), B)) == [Change("renamed", "a", "id", "a", "z")]


def test_each_changed_voice_and_number_is_a_change() -> None:
    after = A.model_copy(update={"judge": "Which?", "weight": 2.0, "tags": ("t", "u")})
    assert diff(made(A), made(after)) == [
        Change("changed", "a", "judge", "Which is more a?", "Which?"),
        Change("changed", "a", "weight", "1.0", "2.0"),
        Change("changed", "a", "tags", "", "t, u"),
    ]


def test_order_is_a_change_because_it_changes_the_draw() -> None:
    assert diff(made(A, B), made(B, A)) == [Change("changed", "principles", "order", "a, b", "b, a")]
    assert diff(made(A, B), made(B)) == [Change("removed", "a", before="Which is more a?")]


def test_loop_and_examples() -> None:
    example = Example(prompt="p", reply="r", critique_request="q", critique="c")
    other = example.model_copy(update={"prompt": "o"})
    assert diff(made(A, examples=(example, other)), made(A, loop=Loop(rounds=3), examples=(other,))) == [
        Change("changed", "loop", "rounds", "1", "3"),
        Change("removed", "examples", before="p"),
    ]
    assert diff(made(A, examples=(example, other)), made(A, examples=(other, example)))
    assert diff(made(A, examples=(example,)), made(A, examples=(example, example)))


def test_name_and_description_mean_nothing() -> None:
    assert diff(made(A), made(A).model_copy(update={"name": "y", "description": "d"})) == []


@pytest.mark.parametrize(("old", "new"), itertools.product(shipped_constitutions(), repeat=2))
def test_no_change_exactly_where_the_sha_is_the_same(old: str, new: str) -> None:
    first, second = load_constitution(old), load_constitution(new)
    assert (diff(first, second) == []) == (first.sha == second.sha)
