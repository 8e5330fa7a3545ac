"""Labels a second of a judge on vLLM beside the transformers engine: letters by log-probs, both orders, one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.vllm_labels [--model tiny|3M|100M] [--pairs 64] [--out FILE.json]

Both engines are asked the same questions, in turns, each round about pairs of its own; ratios are medians of the
rounds'. No reply is decoded beyond the one token whose log-probs are read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.conditions import conditions, write_results
from benchmarks.judge_quality import library
from benchmarks.judge_speed import COUNTS, ROUNDS, own_pairs, seconds_a_label
from benchmarks.vllm_chains import WORK
from benchmarks.vllm_models import random_model
from cai.cli.engines import open_engine
from cai.config.engine import EngineSettings
from cai.judge.panel import Asking, Judge
from cai.records import Usage

KINDS = ("transformers", "vllm")


async def measured(judges: dict[str, Judge], count: int, pairs: int) -> dict[str, Any]:
    """Labels a second and cached shares where `count` principles judge each pair."""
    every, rounds = library(), list[dict[str, float]]()
    used: dict[str, Usage] = {kind: Usage() for kind in KINDS}
    for number in range(ROUNDS):
        asked, seconds = own_pairs(every, every[:count], pairs, 100 * count + number), dict[str, float]()
        for kind, judge in judges.items():
            (seconds[kind], _), usage = await seconds_a_label(judge, asked, Asking(seed=0))
            used[kind] += usage
        rounds.append(seconds)
    return {
        "principles": count,
        "labels_per_second": {kind: median(1 / one[kind] for one in rounds) for kind in KINDS},
        "vllm_over_transformers": median(one["transformers"] / one["vllm"] for one in rounds),
        "cached_share": {kind: used[kind].cached_share for kind in KINDS},
    }


async def run(folder: str, pairs: int) -> list[dict[str, Any]]:
    """A row for each number of principles, after one question to each engine that warms it up."""
    engines = {kind: open_engine(EngineSettings.model_validate({"kind": kind, "model": folder})) for kind in KINDS}
    judges = {kind: Judge(kind, engine) for kind, engine in engines.items()}
    for judge in judges.values():
        await seconds_a_label(judge, own_pairs(library(), library()[:1], 1, 1), Asking(seed=0))
    rows = list[dict[str, Any]]()
    for count in COUNTS:
        rows.append(row := await measured(judges, count, pairs))
        shown = ", ".join(f"{kind} {rate:.0f}/s" for kind, rate in row["labels_per_second"].items())
        cached = ", ".join(f"{share:.0%}" for share in row["cached_share"].values())
        ratio = f"{row['vllm_over_transformers']:.2f}x"
        print(f"{count:3} principles: {shown}: {ratio}   {cached} of prompt tokens cached", flush=True)
    for engine in engines.values():
        await engine.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, or the size of a random model")
    parser.add_argument("--pairs", type=int, default=64, help="pairs a round")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vllm-labels.json")
    args = parser.parse_args()
    began, folder = conditions(), args.model
    if folder != "tiny":
        WORK.mkdir(exist_ok=True)
        folder = str(random_model(args.model, WORK))
    write_results(
        args.out, began, {"model": args.model, "pairs": args.pairs, "rows": asyncio.run(run(folder, args.pairs))}
    )


if __name__ == "__main__":
    main()
