"""Signs of reward hacking by name, and runs that stop by their own rule and stay stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from cai.config.rl import KL, Watch
from cai.engine.protocol import EngineDown
from cai.train.rl.rewards import RewardFault, RewardSum
from cai.train.rl.watch import Evaluation, signs_of_hacking, signs_of_trouble
from tests.train_rl.small import LetterPreference, LetterReward, SmallEngine, prompt
from tests.train_rl.test_loop import TABLE, read_metrics, run, settings, task

P = 20


def seen(
    step: int, reward: float = 0.0, verdict: float = 0.0, length: float = 10.0, distinct: float = 0.5
) -> Evaluation:
    """Every prompt alike but for a small scatter, so that intervals are narrow and not empty."""
    scatter = [0.01 * (i % 3 - 1) for i in range(P)]
    moved = tuple(reward + s for s in scatter), tuple(verdict + s for s in scatter)
    return Evaluation(step, *moved, (length,) * P, distinct, 0.0)


def names(*history: Evaluation, **changes) -> set[str]:
    return {w.name for w in signs_of_hacking(history, Watch(**changes), seed=0)}


def test_each_sign_has_its_name_and_nothing_is_named_without_a_change():
    start = seen(0)
    assert names(start) == set()
    assert names(start, seen(10)) == set()
    assert names(start, seen(10, reward=1.0, verdict=0.5)) == set()
    assert names(start, seen(10, reward=1.0, verdict=-0.5)) == {"reward_up_verdict_down"}
    assert names(start, seen(10, reward=-1.0, verdict=-0.5)) == set(), "both fell: bad learning, not hacking"
    assert names(start, seen(10, length=17.0)) == {"length_drift"}
    assert names(start, seen(10, length=5.0)) == {"length_drift"}
    assert names(start, seen(10, distinct=0.29)) == {"distinct_collapse"}


def test_the_verdict_is_held_against_its_best_so_far():
    rise_and_fall = (seen(0), seen(10, reward=0.5, verdict=0.6), seen(20, reward=1.0, verdict=0.3))
    assert names(*rise_and_fall) == {"reward_up_verdict_down"}


def test_a_first_verdict_nobody_could_read_does_not_hide_a_later_fall():
    blind = Evaluation(0, (0.0,) * P, (math.nan,) * P, (10.0,) * P, 0.5, 0.0)
    assert names(blind, seen(10, reward=0.5, verdict=0.6), seen(20, reward=1.0, verdict=0.3)) == {
        "reward_up_verdict_down"
    }
    assert [w.name for w in signs_of_trouble(blind)] == ["verdict_unread"]
    assert signs_of_trouble(seen(0)) == ()


def hacked(**changes):
    """Paid for "e", which the held-out judge dislikes most; warnings are collected as they are told."""
    told = []
    work = task(reward=LetterReward({"e": 1.0}), **changes)
    work = replace(
        work,
        watch_prompts=[prompt(a + b) for a in "abcde" for b in "abcde"],
        held_out=LetterReward({"e": -1.0, "c": 1.0}, "held-out"),
    )
    return work, told


def test_a_stopped_run_stays_stopped_until_the_rule_is_another(tmp_path):
    work, told = hacked()
    options = settings(20, watch=Watch(every=10, prompts=25, stop_on="hacking"))
    _, reason = run("grpo", tmp_path, options, work, warn=told.append)
    assert reason == "hacking"
    assert "reward_up_verdict_down" in {w.name for w in told}
    rows, evaluations = read_metrics(tmp_path), (tmp_path / "evaluations.jsonl").read_text()
    assert run("grpo", tmp_path, options, work)[1] == "hacking"
    assert read_metrics(tmp_path) == rows
    assert (tmp_path / "evaluations.jsonl").read_text() == evaluations
    on = settings(20, watch=Watch(every=10, prompts=25))
    assert run("grpo", tmp_path, on, work)[1] == "done"
    assert read_metrics(tmp_path)[: len(rows)] == rows
    whole = tmp_path / "whole"
    run("grpo", whole, on, work)
    assert read_metrics(tmp_path) == read_metrics(whole)
    assert (tmp_path / "evaluations.jsonl").read_text() == (whole / "evaluations.jsonl").read_text()


def test_a_run_past_its_kl_bound_stays_there(tmp_path):
    bound = settings(30, kl=KL(coefficient=0.0, stop_at=0.3))
    assert run("grpo", tmp_path, bound)[1] == "kl"
    rows = read_metrics(tmp_path)
    assert rows[-1]["kl"] > 0.3
    last = json.loads((tmp_path / "evaluations.jsonl").read_text().splitlines()[-1])
    assert last["step"] == len(rows), "the policy that is kept was looked at"
    assert run("grpo", tmp_path, bound)[1] == "kl"
    assert read_metrics(tmp_path) == rows
    run("grpo", tmp_path, settings(len(rows) + 1, kl=KL(coefficient=0.0, stop_at=30.0)))
    assert len(read_metrics(tmp_path)) == len(rows) + 1


class Compared(LetterReward):
    """Comparisons with the replies of the first evaluation."""

    async def against(self, samples, texts):
        return [
            (self.table.get(s.text[:1], 0.0) or 0.0) - (self.table.get(t[:1], 0.0) or 0.0)
            for s, t in zip(samples, texts, strict=True)
        ]


@pytest.mark.parametrize("name", ["grpo", "spo"])
def test_rewards_that_compare_are_measured_against_the_first_replies_after_a_resume_too(name, tmp_path):
    work = replace(task(name, reward=Compared(TABLE)), preference=LetterPreference(TABLE) if name == "spo" else None)
    options = settings(12, watch=Watch(every=6, prompts=2), save_every=3)
    run(name, tmp_path / "whole", options, work)
    run(name, tmp_path / "cut", settings(9, watch=Watch(every=6, prompts=2), save_every=3), work)
    run(name, tmp_path / "cut", options, work)
    lines = [json.loads(line) for line in (tmp_path / "whole/evaluations.jsonl").read_text().splitlines()]
    assert lines[0]["reward_P"] == [0.0, 0.0]
    assert sum(lines[-1]["reward_P"]) > 0.0
    cut = [json.loads(line) for line in (tmp_path / "cut/evaluations.jsonl").read_text().splitlines()]
    assert [c for c in cut if c["step"] % 6 == 0] == lines


class Mute(SmallEngine):
    """Draws what an evaluation and two steps ask for, then its process is gone."""

    drawn = 0

    async def generate(self, turns, sampling, *, prefill=""):
        self.drawn += 1
        if self.drawn > 2 + 2 * 24:
            raise EngineDown("gone")
        return await super().generate(turns, sampling)


def test_an_engine_that_dies_in_an_evaluation_leaves_the_steps_before_it(tmp_path):
    # 2 watched replies, two steps of 24, then the evaluation after step 2 meets the end.
    options = settings(4, watch=Watch(every=2, prompts=2))
    run("grpo", tmp_path / "whole", options)
    with pytest.raises(EngineDown, match="in the evaluation after step 2: gone; the same command goes on"):
        run("grpo", tmp_path / "cut", options, engine=Mute())
    run("grpo", tmp_path / "cut", options)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert (tmp_path / "cut/evaluations.jsonl").read_text() == (tmp_path / "whole/evaluations.jsonl").read_text()


def test_a_run_that_cannot_learn_anything_stops(tmp_path):
    silent = RewardSum(((LetterReward(dict.fromkeys([*TABLE, "", "?"], None)), 1.0),))
    with pytest.raises(
        RewardFault, match=r"no reply of the last 3 steps could be learnt from.*24 were unread.*prompts"
    ):
        run("grpo", tmp_path, settings(9), replace(task(), rewards=silent))
    assert [m["step"] for m in read_metrics(tmp_path)] == [1, 2]


def test_a_broken_reward_keeps_the_steps_before_it(tmp_path):
    class Breaks(LetterReward):
        calls = 0

        async def score(self, samples):
            self.calls += 1
            return [math.nan] * len(samples) if self.calls == 4 else await super().score(samples)

    options = settings(5)
    run("grpo", tmp_path / "whole", options)
    with pytest.raises(RewardFault, match=prompt("a").id + "|" + prompt("e").id):
        run("grpo", tmp_path / "cut", options, task(reward=Breaks(TABLE)))
    assert [m["step"] for m in read_metrics(tmp_path / "cut")] == [1, 2]
    run("grpo", tmp_path / "cut", options)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
