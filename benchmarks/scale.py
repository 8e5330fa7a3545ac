"""10^9 prompts on 10^3 GPUs: the tables of docs/scale.md. No model runs; about a minute on one core.

    python -m benchmarks.scale [--price 2.5]

Published token rates give what a token costs (`fleet_gpu.py`), the layout of our prompts how many tokens a chain needs
(`fleet_chains.py`), the simulation what waves, memory and failures do to both (`fleet.py`). The assumptions are the
constants below: replace them and run it again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.conditions import conditions, write_results
from benchmarks.fleet import Fleet, Totals
from benchmarks.fleet_chains import LAYOUTS, Call, Layout, Sizes, computed, hit_rate, made_chains, ours
from benchmarks.fleet_gpu import LLAMA_8B, LLAMA_70B, Published, engine_shape, fitted
from benchmarks.fleet_run import simulate

PROMPTS, GPUS = 10**9, 1000
QUESTION, CRITIQUE_REQUEST, REVISE_REQUEST = 60, 50, 30
FEW_SHOTS = 2500
"""24 messages of some 100 tokens, where there are any."""
ROUNDS, MEAN, SIGMA, MOST = 2, 250.0, 0.8, 1500
BLOCK = 16
GPU_HOURS_BETWEEN_FAILURES = 16_384 * 54 * 24 / 419
"""419 unplanned interruptions of 16,384 GPUs in 54 days (The Llama 3 Herd of Models, arXiv 2407.21783, 3.3.4)."""
SPOT_HOURS, RESTART_SECONDS = 4.0, 180.0
"""Of an engine on machines that may be taken away, and what a restart takes."""


@dataclass(frozen=True)
class Cost:
    """One model under one layout."""

    model: str
    layout: str
    cached_share: float
    gpu_seconds_per_chain: float
    chains_per_gpu_second: float
    hours: float
    dollars_per_million_chains: float


def workload(layout: Layout, few_shots: int, count: int = 2000) -> list[list[Call]]:
    sizes = Sizes(QUESTION, few_shots, CRITIQUE_REQUEST, REVISE_REQUEST)
    return made_chains(count, layout, sizes, rounds=ROUNDS, mean=MEAN, sigma=SIGMA, most=MOST)


def gpu_seconds(model: Published, chains: Sequence[Sequence[Call]], *, cache: bool = True) -> float:
    """GPU-seconds of the average chain on a full engine: tokens computed, drawn and read, times their costs."""
    cost, _ = fitted(model.rates)
    block = BLOCK if cache else 10**9  # no block is ever whole: nothing is found
    sums = [sum(column) for column in zip(*(computed(chain, block=block) for chain in chains), strict=True)]
    seconds = sums[0] * cost.prefill + sums[1] * cost.token + sums[2] * cost.context
    return model.gpus * seconds / len(chains)


def costs(price: float) -> list[Cost]:
    """Every layout with and without few-shots, on both models, and ours without a cache."""
    found = list[Cost]()
    for model in (LLAMA_8B, LLAMA_70B):
        for few_shots in (0, FEW_SHOTS):
            for name, layout in LAYOUTS.items():
                chains = workload(layout, few_shots)
                label = f"{name}, {few_shots:,} tokens of few-shots"
                found.append(_cost(model, label, chains, price, cache=True))
            label = f"ours, {few_shots:,} tokens of few-shots, no cache"
            found.append(_cost(model, label, workload(ours, few_shots), price, cache=False))
    return found


def _cost(model: Published, label: str, chains: list[list[Call]], price: float, *, cache: bool) -> Cost:
    seconds = gpu_seconds(model, chains, cache=cache)
    share = hit_rate(chains, block=BLOCK) if cache else 0.0
    hours = PROMPTS * seconds / GPUS / 3600
    return Cost(model.name, label, share, seconds, 1 / seconds, hours, 1e6 * seconds / 3600 * price)


@dataclass(frozen=True)
class Simulated:
    """One engine in the simulation."""

    model: str
    what: str
    chains_per_gpu_second: float
    cached_share: float
    first_minutes: float
    mean_batch: float


def engines_alone() -> list[Simulated]:
    """One engine: chains beside waves of growing size, replies with heavy tails, its own memory."""
    found = list[Simulated]()
    for model in (LLAMA_8B, LLAMA_70B):
        shape = engine_shape(model)
        free = workload(ours, FEW_SHOTS, 3000)
        for in_flight in (128, 512, 1024):
            label = f"chains, {in_flight} in flight"
            found.append(_simulated(model, label, simulate(Fleet(1, shape, in_flight=in_flight), free)))
        for count in (512, 3000):
            wave = simulate(Fleet(1, shape, in_flight=count, waves=True), free[:count])
            found.append(_simulated(model, f"waves of {count:,} prompts", wave))
    return found


def _simulated(model: Published, what: str, totals: Totals) -> Simulated:
    return Simulated(
        model.name,
        what,
        totals.chains_per_second / model.gpus,
        totals.cached_share,
        totals.first_seconds / 60,
        totals.drawn_tokens / totals.steps,
    )


@dataclass(frozen=True)
class Failing:
    """What failures cost: share of engine time lost, by formula and in the simulation."""

    model: str
    what: str
    hours_between: float
    lost_by_formula: float
    lost_simulated: float | None


def failures(in_flight: int = 512) -> list[Failing]:
    """Lost share = (age of a chain in flight + restart) / time between an engine's failures.

    A chain stays in_flight / (chains a second) (Little's law); one met in flight has, on average, stay * (1 + cv^2) / 2
    behind it, cv being the coefficient of variation of stays: long ones are met more often. The simulation tests the
    formula where failures are frequent enough to be seen.
    """
    found = list[Failing]()
    for model in (LLAMA_8B, LLAMA_70B):
        chains = workload(ours, FEW_SHOTS)
        age = in_flight * gpu_seconds(model, chains) / model.gpus * _age_of_stay(chains)
        hardware = GPU_HOURS_BETWEEN_FAILURES / model.gpus
        for what, hours in (("hardware, published rate", hardware), ("spot machines, assumed", SPOT_HOURS)):
            found.append(Failing(model.name, what, hours, _lost(age, hours), None))
        found.append(_tested(model))
    return found


def _lost(age: float, hours: float, restart: float = RESTART_SECONDS) -> float:
    return (age + restart) / (hours * 3600)


def _age_of_stay(chains: Sequence[Sequence[Call]]) -> float:
    """Mean age of a chain met in flight over the mean stay, stays being as long as the chain's replies."""
    replies = [sum(call.reply for call in chain) for chain in chains]
    return sum(length**2 for length in replies) * len(replies) / sum(replies) ** 2 / 2


def _tested(model: Published, in_flight: int = 32, seeds: int = 3) -> Failing:
    """Four engines that fail every twelve stays of a chain and restart in half of one: enough failures to count."""
    fleet, chains = Fleet(4, engine_shape(model), in_flight=in_flight), workload(ours, FEW_SHOTS, 4000)
    calm = simulate(fleet, chains)
    stay = in_flight * fleet.engines * calm.most_seconds / (0.9 * len(chains))
    failing = replace(fleet, failure_seconds=12 * stay, restart_seconds=stay / 2)
    rough = [simulate(failing, chains, seed=seed).most_seconds for seed in range(seeds)]
    lost = 1 - calm.most_seconds * seeds / sum(rough)
    hours = (failing.failure_seconds + failing.restart_seconds) / 3600
    formula = _lost(stay * _age_of_stay(chains), hours, stay / 2)
    return Failing(model.name, "every 12 stays, to test the formula", hours, formula, lost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--price", type=float, default=2.5, help="dollars of a GPU-hour")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scale.json")
    args = parser.parse_args()
    began = conditions()
    for model in (LLAMA_8B, LLAMA_70B):
        cost, ratios = fitted(model.rates)
        worst = max(abs(ratio - 1) for ratio in ratios)
        per_token = f"{1e6 * cost.prefill:.1f} us a prompt token, {1e6 * cost.token:.1f} us a drawn one"
        print(
            f"{model.name} on {model.gpus} GPU(s): {per_token}, {1e9 * cost.context:.1f} ns a token of context; "
            f"off by at most {worst:.0%} of a published rate"
        )
    print(f"\n{PROMPTS:,} prompts on {GPUS:,} GPUs, {ROUNDS} rounds, ${args.price:g} a GPU-hour")
    found = costs(args.price)
    for one in found:
        print(
            f"{one.model:4} {one.layout:46} {one.cached_share:4.0%} cached {one.chains_per_gpu_second:6.2f} chains/s "
            f"a GPU {one.hours:7.1f} h  ${one.dollars_per_million_chains:8.2f} a million chains"
        )
    print("\none engine, simulated")
    alone = engines_alone()
    for sim in alone:
        print(
            f"{sim.model:4} {sim.what:26} {sim.chains_per_gpu_second:6.2f} chains/s a GPU {sim.cached_share:4.0%} "
            f"cached, first after {sim.first_minutes:6.1f} min, {sim.mean_batch:4.0f} draw in a step"
        )
    print("\nfailures")
    lost = failures()
    for fail in lost:
        simulated = "" if fail.lost_simulated is None else f"{fail.lost_simulated:.2%} simulated"
        between = f"{fail.hours_between:10,.3f} h between"
        print(f"{fail.model:4} {fail.what:38} {between} {fail.lost_by_formula:.5%} lost by formula {simulated}")
    tables = {"costs": found, "engines": alone, "failures": lost}
    write_results(args.out, began, {name: [asdict(row) for row in rows] for name, rows in tables.items()})
    assert all(math.isfinite(one.hours) for one in found)


if __name__ == "__main__":
    main()
