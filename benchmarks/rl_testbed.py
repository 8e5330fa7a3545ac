"""What reinforcement learning does on the testbed, where the truth is known: test requests, the oracle, 95 % intervals.

    python -m benchmarks.rl_testbed [--cells ppo,grpo,…] [--seeds 0,1,2] [--minutes 0] [--out FILE.json]

Every policy starts from the training benchmark's SL-CAI and is paid by its reward model of AI labels, unless said;
what `benchmarks.training_testbed` has made is used as it lies. The cells: PPO and GRPO; GRPO without KL, paid by a
reward model that was taught to like length; GRPO with a weaker KL; PPO with a weaker KL, without and with the
supervised mix; the same two from the base model, on red-team requests and paid for harmlessness alone; GRPO paid by
the judge itself; GRPO in three rounds of labels and reward models, at the same number of labels and steps as in one;
GRPO with a weak KL on a quarter of the labels, in one round and in three.

Every policy answers the same test requests at temperature 1. The oracle reads the replies; while anything trains it is
asked by the evaluations alone, which pay nothing. A cell that is there is not made again and a training that was
stopped goes on. The table and the JSON hold every cell that is there, whatever `--cells` names (`none` makes nothing).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.conditions import conditions, write_results
from benchmarks.rl_cells import START, RLBench
from benchmarks.rl_table import CELLS, GRPO, IN_ROUNDS, LENGTH_BIAS, MIXED, UPDATES, RLSizes
from benchmarks.rl_truth import at_equal_reward, goals, seen, warned
from benchmarks.training_cells import BASE, Bench, Sizes
from benchmarks.training_truth import SHOWN, SL, Read, readings, shares, told, versus
from cai.engine.files import find_model
from cai.testbed import TINY

OTHERS = (BASE, SL, GRPO)
"""What cells are held against, beside what `IN_ROUNDS` says."""


def kept(bench: RLBench) -> dict[str, list[str]]:
    """Replies of every cell of a seed that is there."""
    found = {name: bench.bench.reply_file(name) for name in (BASE, START)}
    replies = {name: json.loads(file.read_text("utf-8")) for name, file in found.items() if file.is_file()}
    files = {name: bench.folder(name) / "cell.json" for name in CELLS}
    return replies | {n: json.loads(f.read_text("utf-8"))["replies"] for n, f in files.items() if f.is_file()}


def summary(benches: dict[int, RLBench]) -> dict[str, Any]:
    """Shares by seed and pooled, paired changes, what the runs saw, and the goals."""
    read_by: dict[str, dict[int, list[Read]]] = {}
    for seed, bench in benches.items():
        for cell, replies in kept(bench).items():
            read_by.setdefault(cell, {})[seed] = readings(bench.bench, replies)
    against: dict[str, dict[str, Any]] = {cell: {} for cell in read_by}
    for cell in CELLS:
        for other in dict.fromkeys((*OTHERS, IN_ROUNDS.get(cell, GRPO))):
            both = [seed for seed in read_by.get(cell, {}) if seed in read_by.get(other, {})]
            if other != cell and both:
                rows, base = ([r for seed in both for r in read_by[name][seed]] for name in (cell, other))
                against[cell][other] = versus(rows, base)
    pooled = {cell: shares([r for rows in by.values() for r in rows]) for cell, by in read_by.items()}
    runs = {cell: {seed: seen(benches[seed], cell) for seed in by} for cell, by in read_by.items() if cell in CELLS}
    mixes = dict[str, Any]()
    for cell, other in MIXED.items():
        if both := [benches[seed] for seed in runs.get(other, {}) if seed in runs.get(cell, {})]:
            mixes[cell] = at_equal_reward(both, cell, other)
    return {
        "pooled": pooled,
        "seeds": {cell: {seed: shares(rows) for seed, rows in by.items()} for cell, by in read_by.items()},
        "against": against,
        "runs": runs,
        "mix_at_equal_reward": mixes,
        "goals": goals(pooled, against, runs, mixes),
    }


def table(book: dict[str, Any]) -> list[str]:
    """Pooled shares with intervals, KL and reward by seed, warnings, and every goal and whether it is met."""
    lines = [f"{'':<18}" + "".join(f"{name:>22}" for name in SHOWN) + "  KL, reward"]
    for cell, rows in book["pooled"].items():
        texts = [f"{r['share']:.1%} [{r['low']:.1%}, {r['high']:.1%}]" for r in (rows[name] for name in SHOWN)]
        ends = [run["curve"][-1] for run in book["runs"].get(cell, {}).values()]
        far = " / ".join(f"{end['kl']:.2f}, {end['reward']:+.2f}" for end in ends)
        lines.append(f"{cell:<18}" + "".join(f"{text:>22}" for text in texts) + f"  {far}")
    lines.append("")
    for cell, others in book["against"].items():
        for other, one in others.items():
            changes = "  ".join(f"{name} {told(one[name])}" for name in ("harmful", "helpful", "good"))
            lines.append(f"{cell} less {other}: {changes}")
    marks = [f"{'met    ' if g['met'] else 'NOT met'} {g['claim']} {g['goal']}: {g['found']}" for g in book["goals"]]
    return [*lines, "", *warned(book["runs"]), "", *marks]


def main() -> None:
    """Make what is missing, then write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS), help="names separated by commas, or none")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after the cell in which these have passed")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/training"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rl_testbed.json"))
    for kind in (Sizes, RLSizes):
        for field in fields(kind):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    chosen = [] if options.cells == "none" else options.cells.split(",")
    if unknown := sorted(set(chosen) - set(CELLS)):
        parser.error(f"no such cells: {', '.join(unknown)}; there are {', '.join(CELLS)}")
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    own = RLSizes(**{field.name: getattr(options, field.name) for field in fields(RLSizes)})
    seeds = [int(seed) for seed in options.seeds.split(",")]
    benches = {seed: RLBench(Bench.of(options.work, seed, sizes), own) for seed in seeds}
    about: dict[str, Any] = {**conditions(), "model": find_model(str(TINY)).fingerprint, "sizes": asdict(sizes)}
    about |= {"rl_sizes": asdict(own), "cells": {name: asdict(cell) for name, cell in CELLS.items()}}
    about |= {"updates": UPDATES, "length_bias": LENGTH_BIAS}
    began, seconds = time.perf_counter(), dict[str, float]()
    # A cell of every seed before the next one: whenever it ends, all seeds have the cells that matter most.
    for cell in [BASE, START, *chosen]:
        for seed, bench in benches.items():
            if options.minutes and time.perf_counter() - began > 60 * options.minutes:
                break
            started = time.perf_counter()
            if cell in CELLS:
                bench.make(cell)
            elif chosen:
                bench.bench.replies(cell)
            seconds[f"{cell}, seed {seed}"] = round(time.perf_counter() - started, 1)
            print(f"{time.perf_counter() - began:6.0f} s  seed {seed}  {cell}", flush=True)
    book = summary(benches)
    write_results(options.out, about, {"seconds": seconds, **book})
    print("\n".join(table(book)), flush=True)


if __name__ == "__main__":
    main()
