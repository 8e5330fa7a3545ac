"""What training does on the testbed, where the truth is known: held-out requests, the oracle, 95 % intervals.

    python -m benchmarks.training_testbed [--seeds 0,1,2] [--minutes 0] [--red N] [--plain N] [--out FILE.json]

Runs the stages of `cai critique`, `cai train` and `cai label` on the tiny model, as the paper does: revisions of
replies to red-team requests with the base model's own replies to harmless ones mixed in (SL-CAI), then preferences of
the tiny judge over the SL-CAI policy's replies, harmlessness on red-team requests and helpfulness on the others. Every
reply to a held-out request is drawn at temperature 1 and read by the oracle, which sees no training data. A finished
cell is not made again, so a stopped benchmark goes on; `--minutes` ends it after a cell of each seed and prints what
is there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.training_cells import Bench, Sizes, Training
from benchmarks.training_truth import (
    ALL,
    BASE,
    HARD,
    INVERTED,
    METHODS,
    PLACEBO,
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
from cai.testbed import TINY

SUPERVISED: dict[str, Any] = {"epochs": 3, "learning_rate": 5e-4, "keep_best": False}
PREFERENCE: dict[str, dict[str, Any]] = {
    "dpo": {"epochs": 1, "learning_rate": 2e-4, "beta": 0.1},
    "ipo": {"epochs": 1, "learning_rate": 2e-4, "beta": 0.5},
    "slic": {"epochs": 1, "learning_rate": 1e-4, "slic_weight": 0.1},
    "orpo": {"epochs": 1, "learning_rate": 3e-4, "orpo_weight": 1.0},
    "kto": {"epochs": 1, "learning_rate": 2e-4, "beta": 0.1},
    "sppo": {"epochs": 1, "learning_rate": 1e-4, "beta": 0.1},
}
"""Rates and strengths of each method: first guesses, see docs/decisions/0084."""
REWARD: dict[str, Any] = {"epochs": 2, "learning_rate": 3e-4, "keep_best": False}


def cells(bench: Bench, found: dict[str, Any]) -> Iterator[str]:
    """Make every cell of a seed in order of worth; `found` gets replies by cell. Yields each cell's name when done."""

    def policy(training: Training, data: list[Path]) -> Iterator[str]:
        bench.train(training, data)
        found[training.name] = bench.replies(training.name, bench.model(training))
        yield training.name

    found[BASE] = bench.replies(BASE, "tiny")
    yield BASE
    red, plain = bench.training_requests("red"), bench.training_requests("plain")
    revised = bench.critique("red", "harmless-only", red)
    drafts = bench.critique("plain", "placebo", plain)
    supervised = {**SUPERVISED, "replay": str(drafts), "replay_share": 0.5}
    last = Training(SL, "sft", "red", "tiny", supervised)
    yield from policy(last, [revised])

    start = bench.model(last)
    pairs = [
        bench.label("pairs", "harmless-only", bench.training_requests("red_pairs"), start),
        bench.label("pairs-plain", "helpful-only", bench.training_requests("plain_pairs"), start),
    ]
    for method in METHODS:
        chosen = {"keep_best": False, **PREFERENCE[method]}
        yield from policy(Training(method, method, "pairs", start, chosen), pairs)
        if method == "dpo":
            yield from policy(Training(HARD, "dpo", "hard", start, {**chosen, "hard": True}), pairs)
    bench.train(Training("reward", "reward", "pairs", start, REWARD), pairs)
    again = bench.replies("base, again", "tiny", draw="again")
    found["reward"] = reward_truth(bench, bench.base / "pairs", [found[BASE], again, found[SL]])
    yield "reward"

    yield from policy(Training(ALL, "sft", "all", "tiny", {**supervised, "steps": "all"}), [revised])
    unrevised = bench.critique("placebo", "placebo", red)
    yield from policy(Training(PLACEBO, "sft", "placebo", "tiny", supervised), [unrevised])
    opposite = bench.critique("inverted", "inverted-preachy", bench.inverted_requests())
    yield from policy(Training(INVERTED, "sft", "inverted", "tiny", SUPERVISED), [opposite])


def summary(seeds: dict[int, dict[str, Any]], benches: dict[int, Bench]) -> dict[str, Any]:
    """Shares by seed and pooled, paired changes from the base and from SL-CAI, the reward model, and the goals."""
    read_by: dict[str, dict[int, list[Read]]] = {}
    for seed, found in seeds.items():
        for cell, replies in found.items():
            if cell != "reward":
                read_by.setdefault(cell, {})[seed] = readings(benches[seed], replies)
    pooled = {cell: shares([r for rows in by.values() for r in rows]) for cell, by in read_by.items()}
    against: dict[str, dict[str, Any]] = {cell: {} for cell in read_by}
    for cell in read_by:
        for other in (BASE, SL, HARD):
            both = [seed for seed in read_by[cell] if seed in read_by.get(other, {})]
            if other != cell and both:
                rows, base = ([r for seed in both for r in read_by[name][seed]] for name in (cell, other))
                against[cell][other] = versus(rows, base)
    rewards = [found["reward"] for found in seeds.values() if "reward" in found]
    biases = ("length_bias", "length_bias_equally_good", "length_bias_of_the_truth")
    return {
        "pooled": pooled,
        "seeds": {cell: {seed: shares(rows) for seed, rows in by.items()} for cell, by in read_by.items()},
        "against": against,
        "reward": {"accuracy": accuracy(rewards), **{name: [r[name] for r in rewards] for name in biases}}
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
        one = reward["accuracy"]
        biases = ", ".join(
            f"{name.replace('_', ' ')} {sum(v) / len(v):+.2f}" for name, v in reward.items() if "bias" in name
        )
        lines.append(f"reward model: right on {one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}] of {one['n']:,}")
        lines.append(f"  held-out pairs; {biases}")
    lines += [
        "",
        *(f"{'met    ' if g['met'] else 'NOT met'} {g['claim']} {g['goal']}: {g['found']}" for g in book["goals"]),
    ]
    return lines


def main() -> None:
    """Make what is missing, then write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after the round in which these have passed")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/training"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_testbed.json"))
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sizes = Sizes(**{f.name: getattr(options, f.name) for f in fields(Sizes)})
    began, over = time.perf_counter(), False
    found: dict[int, dict[str, Any]] = {}
    benches = {int(seed): Bench.of(options.work, int(seed), sizes) for seed in options.seeds.split(",")}
    about: dict[str, Any] = {
        "model": find_model(str(TINY)).fingerprint, "sizes": asdict(sizes), "torch": torch.__version__,
        "settings": {"sft": SUPERVISED, **PREFERENCE, "reward": REWARD},
    }  # fmt: skip
    works = {seed: cells(bench, found.setdefault(seed, {})) for seed, bench in benches.items()}
    # A cell of every seed before the next cell: whenever it ends, all seeds have the cells that matter most.
    while works and not over:
        for seed in list(works):
            cell = next(works[seed], None)
            if cell is None:
                del works[seed]
                continue
            passed = time.perf_counter() - began
            print(f"{passed:6.0f} s  seed {seed}  {cell}", flush=True)
            over = bool(options.minutes) and passed > 60 * options.minutes
    book = {"about": about, "seconds": time.perf_counter() - began, **summary(found, benches)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(book, indent=1) + "\n", "utf-8")
    print("\n".join(table(book)), flush=True)


if __name__ == "__main__":
    main()
