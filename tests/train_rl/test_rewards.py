"""What replies are paid: sums and costs by hand, users' functions that go wrong, rewards that are no numbers."""

from __future__ import annotations

import asyncio
import math
import sys

import pytest

from cai.errors import InputError
from cai.train.rl.rewards import (
    PythonReward,
    RewardFault,
    RewardSum,
    length_term,
    missing_end_term,
    repetition_term,
)
from cai.train.rl.rollout import Sample
from tests.train_rl.small import LetterReward, prompt


def sample(text: str = "a", ids: tuple[int, ...] = (3, 4), *, ended: bool = True, asked: str = "a") -> Sample:
    return Sample(prompt(asked), (2,), ids, text, ended, (0.0,) * len(ids))


def pay(rewards: RewardSum, *samples: Sample):
    return asyncio.run(rewards.pay(samples))


def test_a_sum_by_hand():
    # 2 * 0.5 - 1 * (-1) is 2 from the sources; 4 tokens cost 0.1 each, a cut reply 3, and of its two 3-grams
    # (5 5 5) (5 5 5) one is a repetition: 2 - 0.4 - 3 - 0.5 * 4 = -3.4.
    sources = ((LetterReward({"a": 0.5}, "good"), 2.0), (LetterReward({"a": -1.0}, "bad"), -1.0))
    terms = (
        ("length", length_term, -0.1),
        ("missing_end", missing_end_term, -3.0),
        ("repetition", repetition_term, -4.0),
    )
    paid = pay(RewardSum(sources, terms), sample(ids=(5, 5, 5, 5), ended=False))
    assert paid.total == pytest.approx((-3.4,))
    assert paid.parts == {"good": (0.5,), "bad": (-1.0,), "length": (4.0,), "missing_end": (1.0,), "repetition": (0.5,)}
    assert pay(RewardSum(sources, terms, clip=1.5), sample(ids=(5, 5, 5, 5), ended=False)).total == (-1.5,)


def test_one_unread_part_leaves_the_whole_reply_unread():
    sources = ((LetterReward({"a": None}, "silent"), 0.0), (LetterReward({"a": 1.0}, "good"), 1.0))
    assert pay(RewardSum(sources), sample()).total == (None,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_names_its_source_and_prompts(value):
    rewards = RewardSum(((LetterReward({"a": 1.0, "b": value}, "broken"), 1.0),))
    with pytest.raises(RewardFault, match=f"'broken' is not finite for prompts {prompt('c').id}; nothing was updated"):
        pay(rewards, sample("a"), sample("b", asked="c"))


def function(tmp_path, monkeypatch, body: str) -> PythonReward:
    """A user's file in the working directory, as `cai` started there finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.delitem(sys.modules, "own_reward", raising=False)
    (tmp_path / "own_reward.py").write_text(f"def f(messages, reply):\n    {body}\n")
    return PythonReward.load("own_reward:f")


def test_a_function_in_the_working_directory_pays(tmp_path, monkeypatch):
    source = function(tmp_path, monkeypatch, "return None if reply == 'b' else len(messages) + len(reply)")
    assert asyncio.run(source.score([sample("aa"), sample("b")])) == [3.0, None]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return reply.index('z')", "ValueError: substring not found .*own_reward.py:2"),
        ("return 'seven'", "gave a str for prompt .*must give a number"),
        ("import numpy\n    return numpy.array([1.0])[0] if reply == 'b' else [1.0]", "gave a list for prompt"),
    ],
)
def test_a_function_that_goes_wrong_is_told_with_the_prompt(tmp_path, monkeypatch, body, said):
    source = function(tmp_path, monkeypatch, body)
    with pytest.raises(RewardFault, match=said) as told:
        asyncio.run(source.score([sample("a")]))
    assert "own_reward:f" in str(told.value)
    assert prompt().id in str(told.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_reward:g", "no reward function 'own_reward:g': AttributeError"),
        ("own_reward:x", "it is a int"),
        ("broken:f", "no reward function 'broken:f': ZeroDivisionError"),
        (":f", "no reward function ':f'"),
        ("a..b:f", "no reward function 'a..b:f'"),
    ],
)
def test_a_function_that_is_not_there_is_wrong_input(tmp_path, monkeypatch, name, said):
    function(tmp_path, monkeypatch, "return 0.0")
    (tmp_path / "own_reward.py").write_text("x = 3\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.delitem(sys.modules, "own_reward", raising=False)
    with pytest.raises(InputError, match=said):
        PythonReward.load(name)
