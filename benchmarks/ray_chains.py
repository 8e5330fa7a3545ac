"""What Ray adds: chains on one and two actors, beside one and two plain processes with the same engines.

    OMP_NUM_THREADS=1 python -m benchmarks.ray_chains [--model 3M] [--prompts 128]

Two-round chains with spread reply lengths on a random model in vLLM, journal on disk. One actor is compared with an
engine in the asking process; two actors, asked by one driver with one journal, with one process that drives two
engines (`engine.vllm.data_parallel=2`), and with two processes that have half of the prompts each. Beside each way
stands what the simulation of `benchmarks.simulation` gives for the same calls, with the step costs fitted there if
they are of this model; where there are fewer cores than engines, its engines share them. On two cores the driver of
two engines has none of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from benchmarks.conditions import allowed, conditions, tree_seconds, write_part
from benchmarks.fleet import EngineShape, Fleet, StepCost
from benchmarks.fleet_chains import Call
from benchmarks.fleet_run import simulate
from benchmarks.simulation import BLOCK, calls_of
from benchmarks.vllm_chains import HEAVY, WORK, plan_of, shares
from benchmarks.vllm_models import random_model
from cai.config.engine import EngineSettings, RaySettings, VllmSettings
from cai.critique.loop import Parts
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.protocol import Completion, Engine, Sampling, Turn
from cai.records import Prompt
from cai.store import open_run

COSTS = Path(__file__).parent / "results" / "simulation.json"


class Spread:
    """An engine whose replies are as long as the call's seed says; what came back is kept by seed."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked: dict[int, tuple[tuple[Turn, ...], Sampling, Completion]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        sampling = replace(sampling, max_tokens=HEAVY.of(sampling))
        completion = await self.inner.generate(turns, sampling, prefill=prefill)
        self.asked[sampling.seed] = (turns, sampling, completion)
        return completion


@dataclass(frozen=True)
class Ran:
    """One way of running the same prompts."""

    name: str
    seconds: float
    cpu_seconds: float
    """Of this process and everything it started."""
    driver_seconds: float | None
    """Processor time of the process that asks; None where the engine is in it."""
    chains_per_second: float
    cached_share: float
    simulated_seconds: float | None
    """None where no step costs of this model were fitted, or nobody kept the calls."""


def spec(model: str, kind: Any, engines: int = 1) -> EngineSettings:
    return EngineSettings(
        kind=kind,
        model=str(random_model(model, WORK)),
        context_length=2048,
        vllm=VllmSettings(kv_cache_gib=1.0, data_parallel=1 if kind == "ray" else engines),
        # Where this process may use one core only, two actors share it, as two plain processes do.
        ray=RaySettings(inner="vllm", actors=engines, address="local", cpus=min(1.0, len(allowed()) / engines)),
    )


async def stage(model: str, engine: Any, asked: list[Prompt]) -> tuple[float, float, list[list[Call]]]:
    """Seconds of the stage over these prompts, the cached share of prompt tokens, and every chain's calls."""
    spread, plan = Spread(engine), plan_of(model, 0)
    played = cast(Engine, spread)
    parts = Parts(played, played, played)
    with (
        tempfile.TemporaryDirectory(dir=WORK) as folder,
        open_run(Path(folder), "run", stage=STAGE, identity=identity(parts, plan)) as run,
    ):
        began = time.perf_counter()
        counts = await criticise(run, asked, parts, plan, concurrency=512, total=len(asked))
        seconds = time.perf_counter() - began
    assert counts.ok == len(asked), counts
    return seconds, counts.usage.cached_tokens / counts.usage.prompt_tokens, calls_of(spread)


def simulated(model: str, chains: list[list[Call]], engines: int) -> float | None:
    """Seconds of these chains on so many engines, by the costs that `benchmarks.simulation` fitted."""
    fitted = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.is_file() else {}
    if fitted.get("model") != model:
        return None
    cost = StepCost(**fitted["cost"])
    shape = EngineShape(cost, seats=256, kv_tokens=10**6, block=BLOCK, prefill_tokens=2048)
    in_flight = -(-len(chains) // engines)
    return simulate(Fleet(engines, shape, in_flight), chains).seconds * max(1.0, engines / len(allowed()))


def measured(model: str, name: str, settings: EngineSettings, count: int) -> Ran:
    """Open, warm up on other prompts, run, close."""
    from cai.cli.engines import open_engine

    async def go() -> tuple[float, float, float, float, list[list[Call]]]:
        engine = open_engine(settings)
        try:
            await stage(model, engine, shares(count + 16)[count:])
            cpu, own = tree_seconds(), time.process_time()
            seconds, cached, chains = await stage(model, engine, shares(count))
            return seconds, tree_seconds() - cpu, time.process_time() - own, cached, chains
        finally:
            await engine.close()

    seconds, cpu, own, cached, chains = asyncio.run(go())
    on_ray = settings.kind == "ray"
    foreseen = simulated(model, chains, settings.ray.actors if on_ray else settings.vllm.data_parallel)
    apart = on_ray or settings.vllm.in_processes
    return shown(Ran(name, seconds, cpu, own if apart else None, count / seconds, cached, foreseen))


def two_processes(model: str, count: int) -> Ran:
    """Two processes with half of the prompts each, begun together; the time of the slower one."""
    from benchmarks.simulation import run_processes

    told = run_processes(model, 2, count)
    seconds = max(one["seconds"] for one in told)
    cached = sum(one["cached_tokens"] for one in told) / sum(one["prompt_tokens"] for one in told)
    cpu = sum(one["cpu_seconds"] for one in told)
    return shown(Ran("two processes", seconds, cpu, None, count / seconds, cached, None))


def shown(ran: Ran) -> Ran:
    spent = f"{ran.seconds:7.1f} s {ran.cpu_seconds:7.1f} s CPU"
    told = "" if ran.simulated_seconds is None else f"   {ran.simulated_seconds:.1f} s simulated"
    if ran.driver_seconds is not None:
        told += f"   driver {1e3 * ran.driver_seconds / (ran.seconds * ran.chains_per_second):.1f} ms a chain"
    print(
        f"{ran.name:24} {spent} {ran.chains_per_second:7.2f} chains/s {ran.cached_share:4.0%} cached{told}", flush=True
    )
    return ran


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="3M", choices=("3M", "100M"))
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ray-chains.json")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    WORK.mkdir(exist_ok=True)
    began, model = conditions(), args.model
    # Each way in a process of its own: what an engine leaves behind would slow the driver of the next one.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        results = [
            fresh.submit(measured, model, "one process", spec(model, "vllm"), args.prompts).result(),
            fresh.submit(measured, model, "one actor", spec(model, "ray"), args.prompts).result(),
            two_processes(model, args.prompts),
            fresh.submit(measured, model, "one process, two engines", spec(model, "vllm", 2), args.prompts).result(),
            fresh.submit(measured, model, "two actors", spec(model, "ray", 2), args.prompts).result(),
        ]
    one, actor, apart, together, two = results
    for plain, actors in ((one, actor), (together, two), (apart, two)):
        ratio = actors.seconds / plain.seconds
        met = "met" if ratio <= 1.1 else "NOT met"
        by_cpu = f"{actors.cpu_seconds / plain.cpu_seconds:.2f}x the processor time"
        print(f"{actors.name}: {ratio:.2f}x the time of {plain.name} ({by_cpu})   goal <= 1.1 {met}")
    write_part(args.out, model, began, {"prompts": args.prompts, "results": [asdict(r) for r in results]})


if __name__ == "__main__":
    main()
