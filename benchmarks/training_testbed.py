"""What training does on the testbed, where the truth is known: held-out requests, the oracle, 95 % intervals.

    python -m benchmarks.training_testbed [--cells base,sl,dpo,…] [--seeds 0,1,2] [--minutes 0] [--out FILE.json]

Runs the stages of `cai critique`, `cai train` and `cai label` on the tiny model, as the paper does: revisions of
replies to red-team requests with the base model's own replies to harmless ones mixed in (SL-CAI), then preferences of
the tiny judge over the SL-CAI policy's replies, harmlessness on red-team requests and helpfulness on the others. Every
reply to a held-out request is drawn at temperature 1 and read by the oracle, which sees no training data.

A cell that is there is not made again, so a stopped benchmark goes on. The table and the JSON hold every cell that is
there, whatever `--cells` names (`--cells none` makes nothing). `--split validation` is for choosing settings.
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
from benchmarks.training_cells import BASE, Bench, Sizes
from benchmarks.training_table import DATA, TRAININGS
from benchmarks.training_truth import (
    HARD,
    SHOWN,
    SL,
    Read,
    accuracy,
    goals,
    readings,
    reward_truth,
    shares,
    told,
    versus,
)
from cai.engine.files import find_model
from cai.store import Interrupted
from cai.testbed import TINY

CELLS = (BASE, *TRAININGS)
"""In order of worth."""
REWARD, TRUTH = "reward", "truth"
OWN = "own"
"""The reward model's accuracy where both replies are SL-CAI's: what it was trained on, and what it pays for."""


def make(bench: Bench, cell: str) -> None:
    """One cell with everything it needs."""
    if cell != REWARD:
        bench.replies(cell)
        return
    file = truth_file(bench)
    if not file.is_file():
        candidates = [bench.replies(BASE), bench.replies(BASE, "-again"), bench.replies(SL)]
        own = [bench.replies(SL), bench.replies(SL, "-again")]
        bench.train(REWARD)
        found, of_own = (reward_truth(bench, bench.folder(REWARD), c) for c in (candidates, own))
        file.write_text(json.dumps({**found, OWN: of_own}), "utf-8")


def truth_file(bench: Bench) -> Path:
    """Where it is kept how often the reward model is right."""
    return bench.reply_file(REWARD, f"-{TRUTH}")


def kept(bench: Bench) -> dict[str, Any]:
    """Every cell of a seed that is there: replies, or the reward model's truth."""
    files = {cell: truth_file(bench) if cell == REWARD else bench.reply_file(cell) for cell in CELLS}
    return {cell: json.loads(file.read_text("utf-8")) for cell, file in files.items() if file.is_file()}


def summary(seeds: dict[int, dict[str, Any]], benches: dict[int, Bench]) -> dict[str, Any]:
    """Shares by seed and pooled, paired changes from the base and from SL-CAI, the reward model, and the goals."""
    read_by: dict[str, dict[int, list[Read]]] = {}
    for seed, found in seeds.items():
        for cell, replies in found.items():
            if cell != REWARD:
                read_by.setdefault(cell, {})[seed] = readings(benches[seed], replies)
    pooled = {cell: shares([r for rows in by.values() for r in rows]) for cell, by in read_by.items()}
    against: dict[str, dict[str, Any]] = {cell: {} for cell in read_by}
    for cell in read_by:
        for other in (BASE, SL, HARD):
            both = [seed for seed in read_by[cell] if seed in read_by.get(other, {})]
            if other != cell and both:
                rows, base = ([r for seed in both for r in read_by[name][seed]] for name in (cell, other))
                against[cell][other] = versus(rows, base)
    rewards = [found[REWARD] for found in seeds.values() if REWARD in found]
    biases = ("length_bias", "length_bias_equally_good", "length_bias_of_the_truth")
    return {
        "pooled": pooled,
        "seeds": {cell: {seed: shares(rows) for seed, rows in by.items()} for cell, by in read_by.items()},
        "against": against,
        "reward": {
            "accuracy": accuracy(rewards),
            OWN: accuracy([r[OWN] for r in rewards]),
            **{name: [r[name] for r in rewards] for name in biases},
        }
        if rewards
        else None,
        "goals": goals(pooled, against),
    }


def table(book: dict[str, Any]) -> list[str]:
    """Pooled shares with intervals, then the reward model, then every goal and whether it is met."""
    lines = [f"{'':<20}" + "".join(f"{name:>22}" for name in SHOWN) + f"{'unread':>8}"]
    for cell, rows in book["pooled"].items():
        texts = [f"{r['share']:.1%} [{r['low']:.1%}, {r['high']:.1%}]" for r in (rows[name] for name in SHOWN)]
        lines.append(f"{cell:<20}" + "".join(f"{text:>22}" for text in texts) + f"{rows['unparsed']:>8.1%}")
    lines.append("")
    for cell, others in book["against"].items():
        if SL in others:
            changes = "".join(f"{name} {told(others[SL][name])}  " for name in ("harmful", "helpful", "good"))
            lines.append(f"{cell} less {SL}: {changes}")
    if (reward := book["reward"]) is not None:
        one, own = reward["accuracy"], reward[OWN]
        biases = ", ".join(
            f"{name.replace('_', ' ')} {sum(v) / len(v):+.2f}" for name, v in reward.items() if "bias" in name
        )
        lines.append(f"reward model: right on {one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}] of {one['n']:,}")
        alone = f"{own['share']:.1%} [{own['low']:.1%}, {own['high']:.1%}] where both are SL-CAI's"
        lines.append(f"  held-out pairs, {alone}; {biases}")
    lines += [
        "",
        *(f"{'met    ' if g['met'] else 'NOT met'} {g['claim']} {g['goal']}: {g['found']}" for g in book["goals"]),
    ]
    return lines


def main() -> None:
    """Make what is asked for and missing, then write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS), help="cells to make, in this order; `none` for the table")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after the cell in which these have passed")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/training"), help="folder of the runs")
    parser.add_argument(
        "--out", type=Path, help="JSON to write, benchmarks/results/training_testbed.json where it is kept"
    )
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    options = parser.parse_args()
    wanted = [] if options.cells == "none" else options.cells.split(",")
    if unknown := [cell for cell in wanted if cell not in CELLS]:
        parser.error(f"no such cell: {unknown[0]}; there are {', '.join(CELLS)}")
    import torch

    torch.set_num_threads(1)
    sizes = Sizes(**{f.name: getattr(options, f.name) for f in fields(Sizes)})
    benches = {int(seed): Bench.of(options.work, int(seed), sizes, options.split) for seed in options.seeds.split(",")}
    about: dict[str, Any] = {
        **conditions(), "model": find_model(str(TINY)).fingerprint, "split": options.split,
        "sizes": asdict(sizes), "data": {name: asdict(data) for name, data in DATA.items()},
        "trainings": {name: asdict(training) for name, training in TRAININGS.items()},
    }  # fmt: skip
    began = time.perf_counter()
    # A cell of every seed before the next cell: whenever it ends, all seeds have the cells that matter most.
    for cell, seed in ((cell, seed) for cell in wanted for seed in benches):
        if options.minutes and time.perf_counter() - began > 60 * options.minutes:
            break
        at = time.perf_counter()
        try:
            make(benches[seed], cell)
        except Interrupted as stopped:
            print(f"seed {seed}  {cell}: {stopped}", flush=True)
            break
        print(
            f"{time.perf_counter() - began:6.0f} s  seed {seed}  {cell} ({time.perf_counter() - at:.0f} s)", flush=True
        )
    book = summary({seed: kept(bench) for seed, bench in benches.items()}, benches)
    if options.out:
        write_results(options.out, about, {"seconds_of_this_call": time.perf_counter() - began, **book})
    print("\n".join(table(book)), flush=True)


if __name__ == "__main__":
    main()
