"""The simulation of chains on engines: its arithmetic by hand, against a loop over single steps, and its laws."""

import asyncio
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet import EngineShape, Fleet, StepCost
from benchmarks.fleet_chains import LAYOUTS, Call, Sizes, computed, hit_rate, made_chains, one_chat, ours
from benchmarks.fleet_run import simulate
from cai.constitution import load_constitution
from cai.constitution.model import Example
from cai.critique.loop import Parts, Plan, run_chain
from cai.engine.protocol import Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt

SIZES = Sizes(question=40, few_shots=0, critique_request=30, revise_request=20)
COST = StepCost(step=1.0, token=0.1, context=0.001, prefill=0.01)
FLAT = StepCost(step=1.0, token=0.0, context=0.0, prefill=0.0)


def shape(cost: StepCost = COST, **other: int) -> EngineShape:
    return EngineShape(cost, **{"seats": 8, "block": 1, **other})


def tailed(count: int, few_shots: int = 0, sigma: float = 1.0) -> list[list[Call]]:
    sizes = Sizes(40, few_shots, 30, 20)
    return made_chains(count, ours, sizes, rounds=2, mean=60, sigma=sigma, most=400)


@settings(deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(0, 5000), st.floats(0, 0.01), st.floats(0, 12), st.floats(0, 1)
)
def test_a_leap_takes_as_long_as_its_steps(steps, drawing, context, per_context, floor, token):
    cost = StepCost(0.5, token, per_context, 0.01, floor)
    single = sum(cost.seconds(drawing, context + n * drawing) for n in range(steps))
    assert cost.leap(steps, drawing, context) == pytest.approx(single)


def test_one_chain_by_hand():
    # Two calls; the second finds 13 of its 15 prompt tokens. Call 1: a step with 10 prompt tokens and nothing drawing
    # (1 + 10 * 0.01), then two that draw with contexts 11 and 12 (1.1 + 0.011, 1.1 + 0.012). Call 2: 1 + 2 * 0.01, then
    # one step with context 16: 1.1 + 0.016.
    calls = [Call(10, 0, 0, 3), Call(15, 0, 13, 2)]
    totals = simulate(Fleet(1, shape(), in_flight=1), [calls])
    assert totals.seconds == pytest.approx(1.1 + 1.111 + 1.112 + 1.02 + 1.116)
    assert (totals.steps, totals.drawn_tokens) == (5, 5)
    assert (totals.prompt_tokens, totals.cached_tokens) == (25, 13)


def step_by_step(chains: list[list[Call]], seats: int, cost: StepCost) -> tuple[int, float]:
    """The same engine without leaps, events or memory limits: steps and seconds of all chains at once."""
    queue = [(number, 0) for number in range(len(chains))]
    running: list[list[int]] = []  # chain, call, tokens drawn
    steps, seconds = 0, 0.0
    while queue or running:
        joined = []
        queue.sort(key=lambda one: -chains[one[0]][one[1]].turns)
        while queue and len(running) + len(joined) < seats:
            joined.append([*queue.pop(0), 0])
        new = sum(
            chains[chain][call].prompt - chains[chain][call].cached(chain_is_kept=call > 0, block=1)
            for chain, call, _ in joined
        )
        context = sum(chains[chain][call].prompt + drawn for chain, call, drawn in running)
        seconds += cost.seconds(len(running), context, new)
        steps += 1
        running += joined
        for request in running:
            request[2] += 1
        ended = [r for r in running if r[2] == chains[r[0]][r[1]].reply]
        running = [r for r in running if r[2] < chains[r[0]][r[1]].reply]
        queue += [(chain, call + 1) for chain, call, _ in ended if call + 1 < len(chains[chain])]
    return steps, seconds


@pytest.mark.parametrize("seats", [3, 8, 64])
def test_leaps_and_events_equal_a_loop_over_steps(seats):
    chains = tailed(24)
    totals = simulate(Fleet(1, shape(seats=seats, prefill_tokens=10**6), in_flight=24), chains)
    steps, seconds = step_by_step(chains, seats, COST)
    assert totals.steps == steps
    assert totals.seconds == pytest.approx(seconds)
    assert totals.drawn_tokens == sum(call.reply for chain in chains for call in chain)


def test_an_arrival_waits_for_the_end_of_the_step():
    # Steps take a second. Chain 0 draws ten tokens: seconds 0 to 10. Chain 1 draws one token (0 to 1), thinks 2.5 s and
    # asks at 3.5: it joins the step that begins at 4 and ends at 5.
    chains = [[Call(5, 0, 0, 10)], [Call(5, 0, 0, 1), Call(6, 0, 5, 1)]]
    fleet = Fleet(1, shape(FLAT), in_flight=2, turnaround=2.5)
    totals = simulate(fleet, chains)
    assert totals.steps == 10
    assert totals.first_seconds == pytest.approx(7.5)


def test_of_those_that_wait_the_longest_conversation_goes_first():
    # One seat. Chain 0 draws (0 to 1), then chain 1, which was there already (1 to 2); now chain 0's second call waits
    # beside chain 2, and goes first: it ends at 3, not at 4.
    chains = [[Call(5, 0, 0, 1), Call(6, 0, 5, 1, turns=3)], [Call(5, 0, 0, 1)], [Call(5, 0, 0, 1)]]
    totals = simulate(Fleet(1, shape(FLAT, seats=1), in_flight=3, turnaround=0.5), chains)
    assert totals.first_seconds == pytest.approx(2.5)
    assert totals.seconds == pytest.approx(4.5)


def test_chains_tie_with_waves_at_equal_lengths_and_win_with_heavy_tails():
    equal, heavy = tailed(64, sigma=0.0), tailed(64, sigma=1.0)
    steps = {
        (name, waves): simulate(Fleet(1, shape(FLAT, seats=64), in_flight=64, waves=waves), chains).steps
        for name, chains in (("equal", equal), ("heavy", heavy))
        for waves in (False, True)
    }
    assert steps["equal", False] == steps["equal", True]
    # A wave lasts as long as its longest reply; a chain as long as the sum of its own.
    assert steps["heavy", True] == sum(max(chain[at].reply for chain in heavy) for at in range(5))
    assert steps["heavy", False] == max(sum(call.reply for call in chain) for chain in heavy)
    assert steps["heavy", False] < 0.7 * steps["heavy", True]


def test_two_engines_share_the_work():
    chains = tailed(400, sigma=0.3)
    one, two = (simulate(Fleet(n, shape(), in_flight=8), chains) for n in (1, 2))
    assert one.seconds / two.seconds == pytest.approx(2, rel=0.05)
    assert one.drawn_tokens == two.drawn_tokens


def test_a_small_memory_forgets():
    chains = tailed(64)
    large, small = (simulate(Fleet(1, shape(seats=64, kv_tokens=kv), in_flight=64), chains) for kv in (10**6, 4000))
    assert large.cached_share == pytest.approx(hit_rate(chains, block=1))
    assert small.cached_share < 0.6 * large.cached_share


def test_failures_lose_no_chain_and_cost_what_the_formula_says():
    chains = tailed(600)
    fleet = Fleet(4, shape(), in_flight=8, failure_seconds=5_000, restart_seconds=100)
    calm = simulate(Fleet(4, shape(), in_flight=8), chains)
    rough = simulate(fleet, chains, seed=1)
    assert rough.chains == 600
    assert rough.failures > 5
    # Each failure takes what its engine holds, at most its eight places; a place may be between two chains.
    assert 0 < rough.rerun_chains <= 8 * rough.failures
    assert rough.drawn_tokens >= calm.drawn_tokens + rough.lost_tokens
    assert rough.seconds > calm.seconds
    assert rough == simulate(fleet, chains, seed=1)


def test_waves_with_failures_are_refused():
    with pytest.raises(ValueError, match="without failures"):
        simulate(Fleet(1, shape(), in_flight=1, waves=True, failure_seconds=9.0), tailed(2))


def test_lengths_belong_to_the_chain():
    few, many = tailed(3), tailed(9)
    assert few == many[:3]
    chat = made_chains(3, one_chat, SIZES, rounds=2, mean=60, sigma=1, most=400)
    assert [[call.reply for call in chain] for chain in chat] == [[call.reply for call in chain] for chain in few]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_no_layout_finds_more_than_its_prompt(layout):
    for chain in made_chains(50, layout, Sizes(40, 500, 30, 20), rounds=3, mean=60, sigma=1, most=400):
        for call in chain:
            assert 0 <= call.cached(chain_is_kept=True, block=16) < call.prompt
            assert call.kept <= call.prompt


def test_computed_tokens_by_hand():
    # 10 prompt tokens computed, then 15 of which 12 are whole blocks of four that are kept: 3. Drawn: 3 + 2. Pairs:
    # contexts 10, 11, 12 and 15, 16.
    prompt, drawn, pairs = computed([Call(10, 0, 0, 3), Call(15, 0, 13, 2)], block=4)
    assert (prompt, drawn, pairs) == (13, 5, 10 + 11 + 12 + 15 + 16)


@pytest.mark.parametrize("shots", [0, 1])
def test_our_layout_is_the_one_that_the_loop_asks_in(shots):
    """What each call shares with the ones before it, word by word, in the turns that a real chain asks for."""
    example = Example(
        prompt="few one", reply="two", critique_request="three", critique="four", revise_request="five", revision="six"
    )
    constitution = load_constitution("minimal").model_copy(update={"examples": (example,) * shots})
    random, asked, replies = Random(0), list[list[str]](), list[int]()

    def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        asked.append([word for turn in turns for word in turn.content.split()])
        replies.append(random.randint(3, 20))
        return " ".join(f"w{len(asked)}-{n}" for n in range(replies[-1]))

    engine = ScriptedEngine(answer)
    prompt = Prompt.of((Message(role="user", content="q1 q2 q3 q4"),))
    asyncio.run(run_chain(prompt, Parts(engine, engine, engine), Plan(constitution, 0, 1, False, 1.0, 1.0, 64)))
    few = len(asked[1]) - 4 - replies[0] - (critique := _request(asked[1], 1))
    sizes = Sizes(4, few, critique, len(asked[2]) - len(asked[1]) - replies[1])
    calls = ours(sizes, replies)
    assert [call.prompt for call in calls] == [len(words) for words in asked]
    said = [words + [f"w{at + 1}-{n}" for n in range(replies[at])] for at, words in enumerate(asked)]
    for at, call in enumerate(calls):
        longest = max((_common(asked[at], before) for before in said[:at]), default=0)
        assert max(call.kept, call.shared if at > 1 else 0) == longest
    assert (few > 0) == (shots > 0)


def _request(words: list[str], call: int) -> int:
    """Words after the last word of the reply under review."""
    return len(words) - 1 - max(n for n, word in enumerate(words) if word.startswith(f"w{call}-"))


def _common(one: list[str], other: list[str]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_an_endless_mean_time_is_no_failure():
    assert simulate(Fleet(1, shape(), in_flight=2, failure_seconds=math.inf), tailed(4)).failures == 0
