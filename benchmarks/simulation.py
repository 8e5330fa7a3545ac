"""Does the simulation of a fleet give what engines do? Calibrated on single steps, checked on whole runs.

    OMP_NUM_THREADS=1 python -m benchmarks.simulation [--prompts 64] [--model 3M]

1. The bare vLLM engine runs batches of known sizes; a step's seconds are fitted by `StepCost`.
2. One process, then two at once with half of the prompts each, run two-round chains with heavy-tailed lengths (each
   process an engine on one thread, as an actor holds one).
3. The simulation gets the same chains, call by call, and the fitted costs; its errors are printed. Seconds are the
   processor's, so the two processes may share a core: each took what it would take on one of its own.

`benchmarks/scale.py` then asks the same simulation about fleets that nobody has at hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.conditions import conditions, write_results
from benchmarks.fleet import EngineShape, Fleet, StepCost, Totals
from benchmarks.fleet_chains import Call
from benchmarks.fleet_run import simulate

KV_GIB, BLOCK = 1.0, 32
VOCABULARY = 256
"""Tokens to draw prompts from: fewer than any tokenizer of bytes has."""
BATCHES = tuple((requests, prompt) for prompt in (64, 512) for requests in (1, 4, 16, 64))
Table = list[tuple[float, int, int, int]]
"""Steps: processor seconds, requests that drew, tokens of their context, prompt tokens computed."""


@dataclass(frozen=True)
class Compared:
    """A whole run beside its simulation."""

    processes: int
    seconds: float
    """Of the wall, which others on the same cores stretch."""
    cpu_seconds: float
    """Of the processor, for the process that took the most: what a core of its own would take."""
    simulated_seconds: float
    steps: int
    simulated_steps: int
    cached_share: float
    simulated_cached_share: float

    @property
    def error(self) -> float:
        return self.simulated_seconds / self.cpu_seconds - 1


def fit(table: Table) -> tuple[StepCost, float]:
    """The cost that explains the steps best in relative terms, and its median relative error."""
    seconds = np.array([row[0] for row in table])
    terms = np.array([(1, *row[1:]) for row in table], dtype=float)
    (step, token, context, prefill), _ = nnls(terms / seconds[:, None], np.ones(len(table)))
    errors = np.abs(terms @ np.array([step, token, context, prefill]) / seconds - 1)
    return StepCost(float(step), float(token), float(context), float(prefill)), float(np.median(errors))


def step_table(engine: Any, drawn: int = 12) -> Table:
    """Steps of batches of equal requests with random tokens, after one batch that warms up."""
    from benchmarks.vllm_parts import Request, run_bare

    random, table = Random(0), Table()
    for at, (requests, prompt) in enumerate((BATCHES[2], *BATCHES)):
        ids = [tuple(random.randrange(2, VOCABULARY) for _ in range(prompt)) for _ in range(requests)]
        asked = [Request(one, drawn, seed) for seed, one in enumerate(ids)]
        asyncio.run(engine.reset_prefix_cache())
        found = run_bare(engine, asked, shaped=True).shape
        table += found if at else []
    return table


def calls_of(around: Any) -> list[list[Call]]:
    """What was asked, chain by chain, with what each call shares with the earlier ones of its chain."""
    chains: dict[str, list[Call]] = {}
    known: dict[str, list[tuple[int, ...]]] = {}
    for turns, _, completion in around.asked.values():
        question, ids = turns[0].content, around.inner.encode(turns)
        before = known.setdefault(question, [])
        kept = max((_common(ids, other) for other in before), default=0)
        before.append((*ids, *completion.token_ids))
        chains.setdefault(question, []).append(Call(len(ids), 0, kept, completion.usage.completion_tokens, len(turns)))
    return list(chains.values())


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def work(model: str, number: int, processes: int, count: int, table: bool) -> None:
    """A process with one engine: says when it is ready, waits for a line, runs its share, tells what it did."""
    from benchmarks.vllm_chains import HEAVY, WORK, plan_of, run_stage, shares
    from benchmarks.vllm_models import random_model
    from benchmarks.vllm_parts import Around
    from cai.config.engine import EngineSettings, VllmSettings
    from cai.engine.vllm_engine import open_vllm

    folder = random_model(model, WORK)
    vllm = VllmSettings(kv_cache_gib=KV_GIB)
    engine = open_vllm(EngineSettings(kind="vllm", model=str(folder), context_length=2048, vllm=vllm), str(folder))
    around = Around(engine, HEAVY)
    run_stage(Around(engine, HEAVY), shares(4, 0, 1), plan_of(model, 0))
    steps = step_table(engine) if table else Table()
    print("ready", flush=True)
    sys.stdin.readline()
    ran = run_stage(around, shares(count, number, processes), plan_of(model, 0))
    told = {
        "seconds": ran.seconds,
        "cpu_seconds": ran.cpu_seconds,
        "steps": ran.steps,
        "prompt_tokens": ran.usage.prompt_tokens,
        "cached_tokens": ran.usage.cached_tokens,
        "chains": [[asdict(call) for call in chain] for chain in calls_of(around)],
        "table": steps,
    }
    print(json.dumps(told), flush=True)
    asyncio.run(engine.close())


def run_processes(model: str, processes: int, count: int) -> list[dict[str, Any]]:
    """What each of the processes told; all begin once all are ready."""
    command = [sys.executable, "-m", "benchmarks.simulation", "--model", model, "--prompts", str(count), "--work"]
    began = [
        subprocess.Popen(
            [*command, f"{number}/{processes}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for number in range(processes)
    ]
    for process in began:
        _until(process, "ready")
    for process in began:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(_until(process, "{")) for process in began]


def _until(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise RuntimeError(f"a measured process ended early with {process.wait()}")


def compare(told: Sequence[dict[str, Any]], cost: StepCost) -> Compared:
    """The run beside the simulation: every process its own engine with the chains that it had."""
    shape = EngineShape(cost, seats=256, kv_tokens=10**6, block=BLOCK, prefill_tokens=2048)
    totals = list[Totals]()
    for one in told:
        chains = [[Call(**call) for call in chain] for chain in one["chains"]]
        totals.append(simulate(Fleet(1, shape, in_flight=len(chains)), chains))
    return Compared(
        processes=len(told),
        seconds=max(one["seconds"] for one in told),
        cpu_seconds=max(one["cpu_seconds"] for one in told),
        simulated_seconds=max(total.seconds for total in totals),
        steps=sum(one["steps"] for one in told),
        simulated_steps=sum(total.steps for total in totals),
        cached_share=sum(one["cached_tokens"] for one in told) / sum(one["prompt_tokens"] for one in told),
        simulated_cached_share=sum(t.cached_tokens for t in totals) / sum(t.prompt_tokens for t in totals),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--model", default="3M", choices=("3M", "100M"))
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "simulation.json")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.work:
        number, processes = (int(part) for part in args.work.split("/"))
        work(args.model, number, processes, args.prompts, table=processes == 1)
        return
    began = conditions()
    told = {processes: run_processes(args.model, processes, args.prompts) for processes in (1, 2)}
    table = [tuple(row) for row in told[1][0]["table"]]
    cost, error = fit(table)
    print(
        f"a step of the {args.model} model: {1e3 * cost.step:.2f} ms, {1e6 * cost.token:.0f} us a request that draws, "
        f"{1e9 * cost.context:.0f} ns a token of context, {1e6 * cost.prefill:.1f} us a prompt token "
        f"({len(table)} steps, median error {error:.0%})"
    )
    compared = [compare(one, cost) for one in told.values()]
    print("processes   seconds       CPU  simulated  error    steps  simulated   cached  simulated")
    for one in compared:
        print(
            f"{one.processes:9} {one.seconds:9.2f} {one.cpu_seconds:9.2f} {one.simulated_seconds:10.2f} "
            f"{one.error:+6.0%} {one.steps:8} "
            f"{one.simulated_steps:10} {one.cached_share:8.1%} {one.simulated_cached_share:10.1%}"
        )
    speed_up = compared[0].cpu_seconds / compared[1].cpu_seconds
    simulated = compared[0].simulated_seconds / compared[1].simulated_seconds
    print(f"two processes over one: {speed_up:.2f}x by processor time, {simulated:.2f}x simulated")
    results = {"cost": asdict(cost), "median_step_error": error, "runs": [asdict(one) for one in compared]}
    write_results(args.out, began, {"model": args.model, "prompts": args.prompts, **results, "steps": _medians(table)})


def _medians(table: Sequence[tuple[Any, ...]]) -> list[dict[str, float]]:
    """The table in short: median seconds of the steps that only drew, by requests and rounded context."""
    groups: dict[tuple[int, int], list[float]] = {}
    for seconds, drawing, context, prefill in table:
        if drawing and not prefill:
            groups.setdefault((drawing, round(context / drawing / 64) * 64), []).append(seconds)
    return [
        {"drawing": drawing, "context_each": context, "milliseconds": round(1e3 * float(np.median(seconds)), 3)}
        for (drawing, context), seconds in sorted(groups.items())
    ]


if __name__ == "__main__":
    main()
