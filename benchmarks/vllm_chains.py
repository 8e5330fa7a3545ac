"""`cai critique` on vLLM beside vLLM alone and beside stage-by-stage waves; ratios from one run.

    OMP_NUM_THREADS=1 python -m benchmarks.vllm_chains [--models tiny,3M,100M] [--parts bare,few-shots,waves]
    python -m benchmarks.vllm_chains --models 0.5B,8B          # on a GPU

For each model, chains of two rounds run through the stage as `cai critique` runs it (loop, driver, journal on disk):
- `bare`: replies of natural (tiny) or mildly spread lengths (random models), then the same prompts and numbers of
  tokens without dependencies on the bare engine, once with the same seeds and once without any;
- `few-shots`: the same with two examples in front, for the cached share of prompt tokens;
- `waves`: 64 prompts, log-normal lengths, as chains and stage by stage.

On a GPU the share of the time that it was busy is told too. Times are of the wall and of the processor; where others
want the same core, only the latter can be compared. Each part is written as soon as it is done, so the parts can be run
one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.conditions import conditions, write_part
from benchmarks.vllm_models import SHAPES, random_model
from benchmarks.vllm_parts import Around, InWaves, Lengths, Replayed, most_cached, run_bare, same_requests, steps_of
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
    cpu_seconds: float
    first_seconds: float
    steps: int
    chains: int
    usage: Usage
    cached_share: float
    gpu_busy: float | None = None

    @property
    def rate(self) -> float:
        """Drawn tokens a second."""
        return self.usage.completion_tokens / self.seconds


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

    before, cpu = steps_of(around.inner), time.process_time()
    with tempfile.TemporaryDirectory(dir=WORK) as folder, watched_gpu() as busy:
        seconds, usage = asyncio.run(go(Path(folder)))
    steps, cpu = steps_of(around.inner) - before, time.process_time() - cpu
    share = usage.cached_tokens / usage.prompt_tokens
    return Ran(seconds, cpu, firsts[0], steps, count, usage, share, sum(busy) / len(busy) / 100 if busy else None)


@contextmanager
def watched_gpu(every: float = 0.1) -> Iterator[list[int]]:
    """The GPU's utilisation in percent, sampled while the block runs; nothing where there is no GPU."""
    import torch

    samples, done = list[int](), threading.Event()

    def watch() -> None:
        while not done.wait(every):
            samples.append(int(torch.cuda.utilization()))

    watcher = threading.Thread(target=watch, daemon=True)
    if torch.cuda.is_available():
        watcher.start()
    try:
        yield samples
    finally:
        done.set()
        if watcher.is_alive():
            watcher.join()


def plan_of(model: str, few_shots: int) -> Plan:
    return Plan(constitution(few_shots), 0, ROUNDS, False, 1.0, 1.0, 64 if model == "tiny" else HEAVY.most)


def against_bare(model: str, engine: VllmEngine, count: int) -> list[Figure]:
    """The stage beside the same requests without dependencies; loop and journal alone."""
    lengths, plan = None if model == "tiny" else MILD, plan_of(model, 0)
    around = Around(engine, lengths)
    ran = run_stage(around, shares(count), plan)
    show(f"{model}: critique, {count} prompts", ran)
    found = [Figure(model, "tokens drawn a second", round(ran.rate, 1), "", None)]
    if ran.gpu_busy is not None:
        found.append(Figure(model, "share of the time that the GPU was busy", round(ran.gpu_busy, 3), "", None))
    for seeded in (True, False):
        asyncio.run(engine.reset_prefix_cache())
        bare = run_bare(engine, same_requests(around, seeded=seeded))
        name = "with" if seeded else "without"
        line = f"{bare.seconds:7.1f} s {bare.cpu_seconds:7.1f} s CPU {bare.steps:6} steps"
        print(f"{f'{model}: bare engine {name} seeds':40} {line}", flush=True)
        found.append(figure(model, f"time / bare engine {name} seeds", ran.seconds / bare.seconds, "<=", 1.10))
        cpu = ran.cpu_seconds / bare.cpu_seconds
        found.append(figure(model, f"CPU time / bare engine {name} seeds", cpu, "<=", 1.10))
    loop = run_stage(Replayed(around), shares(count), plan)
    cpu = loop.cpu_seconds / ran.cpu_seconds
    found.append(figure(model, "loop, rendering and journal / run, time", loop.seconds / ran.seconds, "<=", 0.03))
    found.append(figure(model, "loop, rendering and journal / run, CPU", cpu, "<=", 0.03))
    return [*found, *cached(model, "no few-shots", ran, around)]


def with_few_shots(model: str, engine: VllmEngine, count: int) -> list[Figure]:
    """The cached share where the constitution has two examples."""
    around = Around(engine, None if model == "tiny" else MILD)
    ran = run_stage(around, shares(count), plan_of(model, 2))
    show(f"{model}: two few-shots, {count} prompts", ran)
    return cached(model, "two few-shots", ran, around)


def cached(model: str, what: str, ran: Ran, around: Around) -> list[Figure]:
    """The cached share of prompt tokens, and what share of it an endless cache without blocks would have had."""
    most = most_cached(around)
    return [
        figure(model, f"prompt tokens cached, {what}", ran.cached_share, ">=", 0.80),
        Figure(model, f"most that could be cached, {what}", round(most, 4), "", None),
    ]


def against_waves(model: str, engine: VllmEngine, count: int) -> list[Figure]:
    """Heavy-tailed lengths, as chains and stage by stage."""
    plan = plan_of(model, 0)
    chains = run_stage(Around(engine, HEAVY), shares(count), plan)
    show(f"{model}: heavy tail, chains", chains)
    waves = run_stage(InWaves(engine, HEAVY), shares(count), plan)
    show(f"{model}: heavy tail, waves", waves)
    work = chains.usage.completion_tokens / waves.usage.completion_tokens
    assert 0.97 < work < 1.03, "not the same work: too many replies without a word ended their round early"
    return [
        figure(model, "steps / steps of waves", chains.steps / waves.steps, "<=", 0.6),
        figure(model, "tokens a second / those of waves", work * waves.seconds / chains.seconds, ">=", 1.15),
        figure(model, "tokens a CPU second / of waves", work * waves.cpu_seconds / chains.cpu_seconds, ">=", 1.15),
        figure(model, "first finished sample / run", chains.first_seconds / chains.seconds, "<", 0.2),
    ]


def figure(model: str, what: str, value: float, sign: str, goal: float) -> Figure:
    met = value >= goal if sign == ">=" else value <= goal
    return Figure(model, what, round(value, 4), f"{sign} {goal}", met)


def show(name: str, ran: Ran) -> None:
    print(
        f"{name:40} {ran.seconds:7.1f} s {ran.cpu_seconds:7.1f} s CPU {ran.steps:6} steps {ran.usage.calls:5} calls "
        f"{ran.rate:6.0f} tok/s {ran.cached_share:4.0%} cached   first after {ran.first_seconds:.1f} s",
        flush=True,
    )


def measure(model: str, part: str, count: int, seats: int | None) -> list[Figure]:
    """The figures of one part on one model; a first short run warms it up."""
    folder = TINY if model == "tiny" else random_model(model, WORK)
    import torch

    settings = VllmSettings(kv_cache_gib=None if torch.cuda.is_available() else 1.0)
    spec = EngineSettings(kind="vllm", model=str(folder), context_length=2048, batch_size=seats, vllm=settings)
    engine = open_vllm(spec, str(folder))
    run_stage(Around(engine, None if model == "tiny" else MILD), shares(4), plan_of(model, 0))
    found = PARTS[part](model, engine, count)
    asyncio.run(engine.close())
    return found


SEATS = {("100M", "bare"): 32, ("100M", "few-shots"): 32}
"""Requests at a time, where the default of 256 is more than the prompts that fit into some minutes would fill."""
PARTS = {"bare": against_bare, "few-shots": with_few_shots, "waves": against_waves}


def prompts_of(model: str, part: str) -> int:
    """Enough to fill the engine, and for the largest model what one processor does in some minutes."""
    if part == "waves":
        return TAILED
    return 64 if model == "100M" else 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tiny,3M,100M", help="tiny, or a random model: " + ", ".join(SHAPES))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--prompts", type=int, help="by default 512, 64 for the 100M model and beside waves")
    parser.add_argument(
        "--seats", type=int, help="requests at a time, by default 256, 32 for the 100M model, but for waves"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vllm-chains.json")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    WORK.mkdir(exist_ok=True)
    for model in args.models.split(","):
        for part in args.parts.split(","):
            if (model, part) == ("tiny", "waves"):
                continue  # its replies end by themselves; lengths can only be set where they do not
            began, seats = conditions(), args.seats or SEATS.get((model, part))
            found = measure(model, part, args.prompts or prompts_of(model, part), seats)
            for one in found:
                met = "" if one.met is None else "met" if one.met else "NOT met"
                print(f"{one.model:6} {one.what:44} {one.value:7.3f}   goal {one.goal:8} {met}", flush=True)
            name = f"{model}, {part}" + (f", {args.seats} seats" if args.seats else "")
            write_part(args.out, name, began, {"figures": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
