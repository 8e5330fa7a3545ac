"""The scripted engine: what it answers, counts, cuts and remembers."""

import asyncio

import pytest

from cai.engine import ContextTooLong, EngineFault, OptionsUnsupported, Sampling, Turn
from cai.engine.scripted import ScriptedEngine

ASK = (Turn("user", "say three words"),)


def test_answers_and_remembers_the_call() -> None:
    engine = ScriptedEngine(lambda turns, sampling: f"{turns[-1].content} {sampling.seed}")
    reply = asyncio.run(engine.generate(ASK, Sampling(seed=7), prefill="well ,"))
    assert reply.text == "say three words 7"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.calls) == (5, 4, 1)
    assert [(call.turns, call.prefill) for call in engine.calls] == [(ASK, "well ,")]


def test_a_reply_ends_at_max_tokens_words() -> None:
    engine = ScriptedEngine(lambda turns, sampling: "a b c d")
    reply = asyncio.run(engine.generate(ASK, Sampling(seed=0, max_tokens=3)))
    assert (reply.text, reply.finish_reason) == ("a b c", "length")


def test_the_function_may_be_a_coroutine_and_may_raise() -> None:
    async def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        await asyncio.sleep(0)
        raise EngineFault("passing")

    with pytest.raises(EngineFault, match="passing"):
        asyncio.run(ScriptedEngine(answer).generate(ASK, Sampling(seed=0)))


def test_options_come_from_their_function_or_are_unsupported() -> None:
    engine = ScriptedEngine(lambda t, s: "", lambda turns, options: [-1.0, -2.0])
    scores = asyncio.run(engine.option_logprobs(ASK, ("A", "B")))
    assert (scores.logprobs, scores.bounded) == ((-1.0, -2.0), (False, False))
    with pytest.raises(OptionsUnsupported):
        asyncio.run(ScriptedEngine(lambda t, s: "").option_logprobs(ASK, ("A", "B")))


def test_a_prompt_that_fills_the_context_is_its_own_fault() -> None:
    engine = ScriptedEngine(lambda t, s: "fine", context_length=3)
    with pytest.raises(ContextTooLong):
        asyncio.run(engine.generate(ASK, Sampling(seed=0)))
    assert asyncio.run(engine.generate((Turn("user", "hi"),), Sampling(seed=0))).text == "fine"
