"""`cai critique` on vLLM beside vLLM alone and beside stage-by-stage waves; ratios from one run.

    OMP_NUM_THREADS=1 python -m benchmarks.vllm_chains [--models tiny,3M,100M]

For each model, chains of two rounds run through the stage as `cai critique` runs it (loop, driver, journal on disk):
- `critique`: replies of natural (tiny) or mildly spread lengths (random models), then the same prompts and numbers of
  tokens without dependencies on the bare engine, once with the same seeds and once without any;
- `few-shots`: the same with two examples in front, for the cached share of prompt tokens;
- `heavy tail`: 64 prompts, log-normal lengths, as chains and in waves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.conditions import conditions, write_results
from benchmarks.vllm_models import SHAPES, random_model
from benchmarks.vllm_parts import Around, InWaves, Lengths, Replayed, run_bare, same_requests, steps_of
from cai.config.engine import EngineSettings, VllmSettings
from cai.constitution import Constitution, load_constitution
from cai.constitution.model import Example
from cai.critique.loop import Parts, Plan
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.vllm_engine import VllmEngine, open_vllm
from cai.records import Prompt, Usage
from cai.store import open_run
from cai.testbed import TINY
from cai.testbed.world import prompts

WORK = Path(__file__).parent / "work"
ROUNDS, TAILED = 2, 64
HEAVY = Lengths(mean=24, sigma=1.2, most=240)
MILD = Lengths(mean=24, sigma=0.4, most=64)


@dataclass(frozen=True)
class Ran:
    """One run of the stage."""

    seconds: float
    first_seconds: float
    steps: int
    chains: int
    usage: Usage
    cached_share: float


@dataclass(frozen=True)
class Figure:
    """One number against its goal."""

    model: str
    what: str
    value: float
    goal: str
    met: bool | None


def examples(count: int) -> tuple[Example, ...]:
    """Few-shot rounds of some 150 words each, made from the shipped principles' own sentences."""
    principles = [p for p in load_constitution("default").principles if p.critique and p.revise]
    return tuple(
        Example(
            prompt=f"Could you tell me about number {n}? " + principles[n].critique,
            reply="Here is what I think. " + principles[n + 1].critique,
            critique_request=principles[n].critique,
            critique="It could be better in one way. " + principles[n].revise,
            revise_request=principles[n].revise,
            revision="Here is a better one. " + principles[n + 1].revise,
        )
        for n in range(count)
    )


def constitution(few_shots: int) -> Constitution:
    """The default one, with so many examples."""
    return load_constitution("default").model_copy(update={"examples": examples(few_shots)})


def shares(count: int, number: int = 0, parts: int = 1) -> list[Prompt]:
    """Part `number` of the first `count` prompts of the testbed."""
    return list[Prompt](prompts("test", count, 0))[number::parts]


def run_stage(around: Around, asked: list[Prompt], plan: Plan) -> Ran:
    """Chains over the prompts, journal on this disk, cache cold."""
    firsts, count = list[float](), len(asked)

    async def go(base: Path) -> tuple[float, Usage]:
        await around.inner.reset_prefix_cache()
        began = time.perf_counter()
        parts = Parts(around, around, around)
        with open_run(base, "run", stage=STAGE, identity=identity(parts, plan)) as run:
            counts = await criticise(
                run,
                asked,
                parts,
                plan,
                concurrency=min(count, 512),
                total=count,
                progress=lambda now: firsts.append(time.perf_counter() - began) if now.ok else None,
            )
            assert counts.ok == count, counts
            return time.perf_counter() - began, counts.usage

    before = steps_of(around.inner)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        seconds, usage = asyncio.run(go(Path(folder)))
    steps = steps_of(around.inner) - before
    return Ran(seconds, firsts[0], steps, count, usage, usage.cached_tokens / usage.prompt_tokens)


def plan_of(model: str, few_shots: int) -> Plan:
    return Plan(constitution(few_shots), 0, ROUNDS, False, 1.0, 1.0, 64 if model == "tiny" else HEAVY.most)


def against_bare(model: str, engine: VllmEngine, count: int, found: list[Figure]) -> None:
    """The stage beside the same requests without dependencies; loop and journal alone."""
    lengths, plan = None if model == "tiny" else MILD, plan_of(model, 0)
    around = Around(engine, lengths)
    ran = run_stage(around, shares(count), plan)
    show(f"{model}: critique, {count} prompts", ran)
    for seeded in (True, False):
        asyncio.run(engine.reset_prefix_cache())
        bare = run_bare(engine, same_requests(around, seeded=seeded))
        name = "with" if seeded else "without"
        print(f"{f'{model}: bare engine {name} seeds':40} {bare.seconds:7.1f} s {len(bare.shape):6} steps", flush=True)
        found.append(figure(model, f"time / bare engine {name} seeds", ran.seconds / bare.seconds, "<=", 1.10))
    loop = run_stage(Replayed(around), shares(count), plan)
    found.append(figure(model, "loop, rendering and journal / run", loop.seconds / ran.seconds, "<=", 0.03))
    found.append(figure(model, "prompt tokens cached, no few-shots", ran.cached_share, ">=", 0.80))


def with_few_shots(model: str, engine: VllmEngine, count: int, found: list[Figure]) -> None:
    """The cached share where the constitution has two examples."""
    ran = run_stage(Around(engine, None if model == "tiny" else MILD), shares(count), plan_of(model, 2))
    show(f"{model}: two few-shots, {count} prompts", ran)
    found.append(figure(model, "prompt tokens cached, two few-shots", ran.cached_share, ">=", 0.80))


def against_waves(model: str, engine: VllmEngine, found: list[Figure]) -> None:
    """64 prompts with heavy-tailed lengths, as chains and stage by stage."""
    plan = plan_of(model, 0)
    chains = run_stage(Around(engine, HEAVY), shares(TAILED), plan)
    show(f"{model}: heavy tail, chains", chains)
    waves = run_stage(InWaves(engine, HEAVY), shares(TAILED), plan)
    show(f"{model}: heavy tail, waves", waves)
    work = chains.usage.completion_tokens / waves.usage.completion_tokens
    assert 0.97 < work < 1.03, "not the same work: too many replies without a word ended their round early"
    found.append(figure(model, "steps / steps of waves", chains.steps / waves.steps, "<=", 0.6))
    speed = work * waves.seconds / chains.seconds
    found.append(figure(model, "tokens a second / those of waves", speed, ">=", 1.15))
    found.append(figure(model, "first finished sample / run", chains.first_seconds / chains.seconds, "<", 0.2))


def figure(model: str, what: str, value: float, sign: str, goal: float) -> Figure:
    met = value >= goal if sign == ">=" else value <= goal
    return Figure(model, what, round(value, 4), f"{sign} {goal}", met)


def show(name: str, ran: Ran) -> None:
    rate = ran.usage.completion_tokens / ran.seconds
    print(
        f"{name:40} {ran.seconds:7.1f} s {ran.steps:6} steps {ran.usage.calls:5} calls {rate:6.0f} tok/s "
        f"{ran.cached_share:4.0%} cached   first after {ran.first_seconds:.1f} s",
        flush=True,
    )


def measure(model: str, count: int) -> list[Figure]:
    """All figures of one model; a first short run warms it up."""
    folder = TINY if model == "tiny" else random_model(model, WORK)
    settings = VllmSettings(kv_cache_gib=1.0)
    spec = EngineSettings(kind="vllm", model=str(folder), context_length=2048, vllm=settings)
    engine, found = open_vllm(spec, str(folder)), list[Figure]()
    run_stage(Around(engine, None if model == "tiny" else MILD), shares(4), plan_of(model, 0))
    against_bare(model, engine, count, found)
    with_few_shots(model, engine, count, found)
    if model != "tiny":  # its replies end by themselves; lengths can only be set where they do not
        against_waves(model, engine, found)
    asyncio.run(engine.close())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tiny,3M,100M", help="tiny, or a random model: " + ", ".join(SHAPES))
    parser.add_argument("--prompts", type=int, help="by default 512, and 96 for the 100M model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vllm-chains.json")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    WORK.mkdir(exist_ok=True)
    found = list[Figure]()
    began = conditions()
    for model in args.models.split(","):
        found += measure(model, args.prompts or (96 if model == "100M" else 512))
    print()
    for one in found:
        print(f"{one.model:6} {one.what:40} {one.value:7.3f}   goal {one.goal:8} {'met' if one.met else 'NOT met'}")
    write_results(args.out, began, {"figures": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
