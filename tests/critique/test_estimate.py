"""A dry run's arithmetic: exact where it can be, scaled from the probe where not, and never below what happens."""

import asyncio

import pytest

from cai.critique.estimate import conversation, estimate, probe
from cai.critique.loop import Parts, run_chain
from cai.engine.protocol import ContextTooLong
from cai.engine.scripted import ScriptedEngine
from cai.records import Usage
from tests.critique.script import ask, behave, make_constitution, make_plan, prompts

PLAN = make_plan(make_constitution("harm", "lies", rounds=2))


def whole(count: int, probed: int, parts: Parts):
    asked = prompts(count)
    found, failed, seconds = asyncio.run(probe(asked, probed, parts, PLAN))
    return estimate(asked, found, failed, seconds, parts, PLAN)


def real_usage(count: int) -> Usage:
    engine = ScriptedEngine(behave)
    parts = Parts(engine, engine, engine)
    chains = [asyncio.run(run_chain(prompt, parts, PLAN)) for prompt in prompts(count)]
    return sum((chain.usage for chain in chains), Usage())


def test_a_probe_of_everything_is_exact(parts):
    found = whole(30, 30, parts)
    assert found.usage == real_usage(30)
    assert (found.prompts, found.probed, found.failed) == (30, 30, 0)


def test_a_probe_of_some_is_near_and_below_the_bound(parts):
    found, real = whole(200, 20, parts), real_usage(200)
    assert abs(found.usage.calls / real.calls - 1) < 0.15
    assert abs(found.usage.prompt_tokens / real.prompt_tokens - 1) < 0.2
    assert real.calls <= found.most_calls == 200 * 5
    assert found.seconds is not None


def test_without_a_probe_nothing_is_asked_and_the_bound_is_told(parts):
    found, real = whole(50, 0, parts), real_usage(50)
    assert parts.draft.calls == []
    assert found.seconds is None
    assert found.usage.calls == found.most_calls >= real.calls
    assert found.usage.completion_tokens == found.most_calls * PLAN.max_tokens >= real.completion_tokens


def test_prompts_that_do_not_fit_are_counted_and_do_not_stop_the_probe():
    engine = ScriptedEngine(behave, context_length=60)
    parts = Parts(engine, engine, engine)
    asked = [ask("short"), ask("long " * 80), ask("short too")]
    found, failed, seconds = asyncio.run(probe(asked, 3, parts, PLAN))
    told = estimate(asked, found, failed, seconds, parts, PLAN)
    assert (told.probed, told.failed, told.too_long) == (2, 1, 1)


def test_a_fault_of_another_kind_is_not_counted_but_raised():
    def answer(turns, sampling):
        raise ZeroDivisionError

    engine = ScriptedEngine(answer)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(probe([ask("x")], 1, Parts(engine, engine, engine), PLAN))


def test_what_is_shown_is_what_was_asked():
    for text in ("do harm", "tell harm and lies", "a plain thing"):
        engine = ScriptedEngine(behave)
        revision = asyncio.run(run_chain(ask(text), Parts(engine, engine, engine), PLAN))
        shown = [asked.turns for asked in conversation(revision, PLAN)]
        assert shown == [call.turns for call in engine.calls]


def test_an_engine_that_refuses_every_prompt_leaves_the_bound():
    def answer(turns, sampling):
        raise ContextTooLong("no")

    engine = ScriptedEngine(answer)
    parts = Parts(engine, engine, engine)
    told = whole(5, 5, parts)
    assert (told.probed, told.failed, told.seconds) == (0, 5, None)
    assert told.usage.calls == told.most_calls
