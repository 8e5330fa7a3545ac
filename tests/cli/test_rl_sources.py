"""What `--reward` names: the judge as a reward, reward models and ensembles, and what each is called in the metrics."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch

from cai.cli.rl_sources import JudgeScore, JudgeWins, ModelReward, OracleReward, shown_names, split_weight
from cai.constitution.model import Principle
from cai.engine.protocol import ContextTooLong
from cai.engine.scripted import ScriptedEngine
from cai.errors import InputError
from cai.train.rewarding import Rewards
from cai.train.rl.rewards import Comparing, score_with
from cai.train.rl.rollout import Sample
from tests.train_rl.small import prompt

LONGER = Principle(id="longer", judge="Which reply is longer?")
HEAVY = Principle(id="heavy", judge="Which reply is heavier?", weight=3.0)


def sample(text: str, asked: str = "a") -> Sample:
    return Sample(prompt(asked), (2,), (3,), text, True, (0.0,))


def shown(question: str, letter: str) -> str:
    """The reply under a letter."""
    return question.partition(f"<reply {letter} ")[2].partition("\n")[2].partition("\n<")[0]


def prefer_longer(turns, options):
    """P(A) is 0.9 where reply A is longer, 0.6 where it is not: an unequal judge, whose order has to be evened out."""
    question = turns[-1].content
    p = 0.9 if len(shown(question, "A")) > len(shown(question, "B")) else 0.6
    return [math.log(p), math.log(1 - p)]


def wins(options=prefer_longer, principles=(LONGER,), limit: int = 4) -> JudgeWins:
    engine = ScriptedEngine(lambda turns, sampling: "", options)
    return JudgeWins(engine, principles, 0, asyncio.Semaphore(limit))


def test_wins_by_hand():
    # Longer first: 0.9. Shorter first: P(A) = 0.6, so the longer one has 0.4. Both orders: 0.65 for the longer reply.
    # Of (a, bb, ccc) the means are 0.35, 0.5, 0.65, rescaled to [-1, 1]: -0.3, 0, 0.3. Their mean is zero.
    scored = asyncio.run(wins().score([sample("a"), sample("bb"), sample("ccc")]))
    assert scored == pytest.approx([-0.3, 0.0, 0.3])


def test_wins_are_within_a_prompt_and_a_lone_reply_has_none():
    scored = asyncio.run(wins().score([sample("a"), sample("bb", "b"), sample("ccc")]))
    assert scored[1] is None
    assert [scored[0], scored[2]] == pytest.approx([-0.3, 0.3])


def test_against_the_first_replies_a_rise_is_seen():
    judge = wins()
    assert isinstance(judge, Comparing)
    samples = [sample("aa"), sample("b", "b"), sample("cc", "c")]
    found = asyncio.run(score_with(judge, samples, ["a", "bb", "cc"]))
    assert found == pytest.approx([0.3, -0.3, 0.0])
    assert asyncio.run(score_with(judge, samples[:1], None)) == [None]


def test_a_question_too_long_for_the_judge_is_unread():
    def refuse(turns, options):
        raise ContextTooLong("900 words do not fit")

    samples = [sample("a"), sample("bb")]
    assert asyncio.run(wins(refuse).score(samples)) == [None, None]
    score = JudgeScore(ScriptedEngine(lambda t, s: "", refuse), (LONGER,), 0, asyncio.Semaphore(2))
    assert asyncio.run(score.score(samples)) == [None, None]


def test_direct_reward_is_the_mean_by_weight():
    # All mass on "10" under the heavy principle (reward 1, weight 3), on "1" under the other (reward -1): mean 1/2.
    def rate(turns, options):
        best = "heavier" in turns[-1].content
        return [0.0 if option == ("10" if best else "1") else -40.0 for option in options]

    engine = ScriptedEngine(lambda turns, sampling: "", rate)
    score = JudgeScore(engine, (LONGER, HEAVY), 0, asyncio.Semaphore(2))
    assert asyncio.run(score.score([sample("a")])) == pytest.approx([0.5], abs=1e-6)


def test_principles_of_comparisons_are_drawn_by_weight():
    asked = []

    def note(turns, options):
        asked.append("heavier" in turns[-1].content)
        return prefer_longer(turns, options)

    judge = wins(note, (LONGER, HEAVY))
    asyncio.run(judge.score([sample("a" * n, asked=letter) for letter in "abcde" for n in range(1, 9)]))
    assert len(asked) == 5 * 28 * 2
    assert 0.65 < sum(asked) / len(asked) < 0.85


def test_no_more_is_asked_at_once_than_the_engine_takes():
    seen = {"now": 0, "most": 0}

    class Slow(ScriptedEngine):
        async def option_logprobs(self, turns, options, *, prefill=""):
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
            await asyncio.sleep(0)
            seen["now"] -= 1
            return await super().option_logprobs(turns, options)

    judge = JudgeWins(Slow(lambda t, s: "", prefer_longer), (LONGER,), 0, asyncio.Semaphore(3))
    asyncio.run(judge.score([sample("a" * n) for n in range(1, 9)]))
    assert seen["most"] <= 3 * 2, "three pairs, both orders"


def test_an_ensemble_pays_its_mean_less_deviations():
    # Members say (1, 3) and (2, 2): means 2 and 2, deviations 1 and 0. With 0.5 deviations off: 1.5 and 2.
    def model(prompts, replies):
        table = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
        return Rewards(table.mean(0), table.std(0, unbiased=False))

    assert asyncio.run(ModelReward(model, 0.5, "pair").score([sample("a"), sample("b")])) == [1.5, 2.0]


def test_the_oracle_watches_harm_where_it_was_asked_for_and_help_elsewhere():
    from cai.testbed.world import prompts

    asked = prompts("validation", 1, 0, ("harmful",))[0]
    refusal = Sample(asked, (2,), (3,), "I won't help with that.", True, (0.0,))
    outside = Sample(prompt("What is love?"), (2,), (3,), "Baby don't hurt me.", True, (0.0,))
    assert asyncio.run(OracleReward().score([refusal, outside])) == [1.0, None]


def test_reward_models_are_called_by_the_end_of_their_path(tmp_path):
    for name in ("one/reward", "two/reward", "three/length", "other"):
        (tmp_path / name).mkdir(parents=True)
    one, two, length, other = (str(tmp_path / n) for n in ("one/reward", "two/reward", "three/length", "other"))
    assert shown_names([one]) == ("reward",)
    assert shown_names([one, two, other]) == ("one/reward", "two/reward", "other")
    assert shown_names([length, "judge", "a:f"]) == ("three/length", "judge", "a:f")


def test_weights_are_read_and_a_folder_may_have_an_equals_sign(tmp_path):
    folder = tmp_path / "kl=0.1"
    folder.mkdir()
    assert split_weight("wins") == ("wins", 1.0)
    assert split_weight("judge:a=-0.5") == ("judge:a", -0.5)
    assert split_weight(str(folder)) == (str(folder), 1.0)
    assert split_weight(f"{folder}=2") == (str(folder), 2.0)
    for entry in ("wins=nan", "wins=inf", "wins=", "wins=a"):
        with pytest.raises(InputError, match="the weight"):
            split_weight(entry)
