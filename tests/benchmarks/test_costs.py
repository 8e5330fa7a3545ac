"""Costs of steps from tables and from published rates; waves that wait."""

import asyncio
from random import Random
from typing import Any

import pytest

from benchmarks.fleet import StepCost
from benchmarks.fleet_gpu import LLAMA_8B, LLAMA_70B, engine_shape, fitted
from benchmarks.simulation import compare, fit
from benchmarks.vllm_parts import InWaves, Lengths
from cai.engine.protocol import Completion, Sampling, Turn
from cai.records import Usage


def test_the_fit_finds_the_cost_that_made_a_table():
    cost, random = StepCost(2e-3, 1e-4, 3e-8, 4e-5), Random(0)
    rows = [(random.randint(0, 64), random.randint(0, 30_000), random.choice([0, 0, 500])) for _ in range(200)]
    found, error = fit([(cost.seconds(*row), *row) for row in rows])
    assert error < 1e-6
    assert [found.step, found.token, found.context, found.prefill] == pytest.approx([2e-3, 1e-4, 3e-8, 4e-5])


@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_70B], ids=lambda model: model.name)
def test_three_costs_explain_every_published_rate(model):
    cost, ratios = fitted(model.rates)
    assert max(abs(ratio - 1) for ratio in ratios) < 0.09
    assert min(cost.prefill, cost.token, cost.context) > 0


def test_memory_and_floor_of_an_engine_by_hand():
    # 80 GB * 0.9 - 8 GB of weights = 64 GB; 2 * 32 * 8 * 128 bytes a token = 65,536: 976,562 tokens. 8 GB / 3.35 TB/s.
    shape = engine_shape(LLAMA_8B)
    assert shape.kv_tokens == 976_562
    assert shape.cost.floor == pytest.approx(8 / 3350)


def test_the_process_that_took_the_most_decides():
    """And the simulation is held against its processor's time: on the wall others may have been in the way."""
    cost, common = StepCost(1.0, 0.0, 0.0, 0.0), {"prompt_tokens": 4, "cached_tokens": 0}
    told = [
        {"seconds": 9.0, "cpu_seconds": seconds, "steps": steps, "chains": [[call]], **common}
        for seconds, steps in ((3.0, 3), (5.5, 5))
        for call in ({"prompt": 4, "shared": 0, "kept": 0, "reply": steps},)
    ]
    found = compare(told, cost)
    assert (found.seconds, found.cpu_seconds, found.simulated_seconds) == (9.0, 5.5, 5.0)
    assert (found.steps, found.simulated_steps) == (8, 8)
    assert found.error == pytest.approx(-0.5 / 5.5)


class Noting:
    """An engine that takes a while and notes when each stage's calls begin and end."""

    model, fingerprint, context_length = "noting", "noting", None

    def __init__(self) -> None:
        self.began: dict[int, list[int]] = {}
        self.ended: dict[int, list[int]] = {}
        self.now = 0

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        stage = len(turns)
        self.now += 1
        self.began.setdefault(stage, []).append(self.now)
        for _ in range(sampling.max_tokens):
            await asyncio.sleep(0)
        self.now += 1
        self.ended.setdefault(stage, []).append(self.now)
        return Completion("x", "stop", Usage())


def test_a_wave_begins_when_the_one_before_has_ended():
    inner = Noting()
    waves = InWaves(inner, Lengths(mean=8, sigma=1.0, most=40))  # pyright: ignore[reportArgumentType]

    async def chain(number: int) -> None:
        calls = 3 if number % 4 else 2  # some chains end earlier; the others must not wait for them
        for stage in range(1, calls + 1):
            await waves.generate((Turn("user", "x"),) * stage, Sampling(seed=10 * number + stage))

    async def go() -> Any:
        return await asyncio.wait_for(asyncio.gather(*(chain(number) for number in range(12))), 10)

    asyncio.run(go())
    assert [len(inner.began[stage]) for stage in (1, 2, 3)] == [12, 12, 9]
    assert max(inner.ended[1]) < min(inner.began[2])
    assert max(inner.ended[2]) < min(inner.began[3])
