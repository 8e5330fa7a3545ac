"""What training does on the testbed, where the truth is known: held-out requests, the oracle, 95 % intervals.

    python benchmarks/training_testbed.py [--seeds 0,1,2] [--prompts 400] [--tests 200] [--out FILE.json]

Runs the commands a user runs (`cai critique`, `cai train`, `cai label`, `cai sample`'s engine) on the tiny model and
reads every reply to held-out test requests at temperature 1 with the oracle. A finished step is not done again, so a
stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.measures.intervals import wilson

METHODS = ("dpo", "ipo", "slic", "orpo", "kto", "sppo")
KINDS: dict[str, Callable[[Any], bool]] = {
    "harmful": lambda r: r.harmful,
    "helpful": lambda r: r.helpful,
    "over-refuses": lambda r: r.over_refuses,
    "preachy": lambda r: "preachy" in r.attributes,
    "evasive": lambda r: "evasive" in r.attributes,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One seed's folder and sizes."""

    base: Path
    seed: int
    prompts: int
    tests: int

    def cai(self, *words: str) -> None:
        """A command as a user gives it."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        program = [sys.executable, "-m", "cai.cli", *words, "--in", str(self.base), "--seed", str(self.seed)]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"cai {' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")

    def model(self, run: str, method: str) -> str:
        return str(self.base / run / method / "model")

    def train(self, method: str, run: str, model: str, *settings: str) -> str:
        """Train once; the model's folder."""
        if not Path(self.model(run, method)).is_dir():
            self.cai("train", method, "-r", run, "-m", model, "batch_size=32", "micro_batch=16", *settings)
        return self.model(run, method)


def measure(model: str, bench: Bench) -> dict[str, Any]:
    """Shares of replies to test requests with each property: of harmful requests, and of the rest."""
    from cai.cli.engines import open_engine
    from cai.config.engine import EngineSettings
    from cai.engine.protocol import Sampling, Turn
    from cai.seeds import seed_for
    from cai.testbed.oracle import read
    from cai.testbed.world import prompts

    asked = prompts("test", bench.tests, bench.seed)
    engine = open_engine(EngineSettings(model=model))

    async def all_replies() -> list[str]:
        calls = (
            engine.generate(
                tuple(Turn.of(m) for m in p.messages),
                Sampling(seed_for(bench.seed, "bench", p.id), 1.0, max_tokens=96),
            )
            for p in asked
        )
        found = [completion.text for completion in await asyncio.gather(*calls)]
        await engine.close()
        return found

    readings = [read(p, text) for p, text in zip(asked, asyncio.run(all_replies()), strict=True)]
    harmful = [r for r in readings if r.kind in ("harmful", "privacy")]
    benign = [r for r in readings if r.kind not in ("harmful", "privacy", None)]
    groups = {"harmful": harmful, "helpful": benign, "over-refuses": benign, "preachy": readings, "evasive": readings}
    rows = {name: share([KINDS[name](r) for r in group]) for name, group in groups.items()}
    return {**rows, "unparsed": sum(r.unparsed for r in readings) / max(1, len(readings))}


def share(hits: Sequence[bool]) -> dict[str, float]:
    """A share with its Wilson interval."""
    low, high = wilson(sum(hits), max(1, len(hits)))
    return {"share": sum(hits) / max(1, len(hits)), "low": low, "high": high, "n": len(hits)}


def reward_truth(run: Path, bench: Bench) -> dict[str, float]:
    """Accuracy of a reward model on pairs whose order the oracle knows, and its length bias on them."""
    import torch

    from cai.testbed.oracle import read
    from cai.train.examples import read_examples
    from cai.train.rewarding import RewardModel, length_bias

    rewards = RewardModel.load(run / "reward")
    examples, _ = read_examples(run / "pairs.parquet", "pairs")
    known = []
    for e in examples:
        good = [read(e.prompt, text).helpful and not read(e.prompt, text).harmful for text in e.replies]
        if good[0] != good[1]:
            known.append((e, good[0]))
    found = rewards([e.prompt for e, _ in known], [e.replies for e, _ in known]).mean_S.view(-1, 2)
    right = [(a > b) == first for (a, b), (_, first) in zip(found.tolist(), known, strict=True)]
    lengths = torch.tensor([len(text.split()) for e, _ in known for text in e.replies])
    return {**share(right), "length_bias": length_bias(found.flatten(), lengths)}


def run_seed(bench: Bench) -> dict[str, Any]:
    """Every row of the table for one seed."""
    count = str(bench.prompts)
    rows: dict[str, Any] = {"base": measure("tiny", bench)}
    bench.cai("critique", "-r", "main", "-p", "testbed", "--split", "train", "--limit", count)
    sl = bench.train("sft", "main", "tiny", "epochs=2")
    rows["SL-CAI, last step"] = measure(sl, bench)
    data = bench.base / "main" / "sft.parquet"
    rows["SL-CAI, all steps"] = measure(
        bench.train("sft", "all", "tiny", "epochs=2", "steps=all", f"data=[{data}]"), bench
    )
    bench.cai("label", "-r", "pairs", "-m", sl, "--judge", "tiny", "--split", "train", "--limit", count, "-k", "4")
    pairs = bench.base / "pairs" / "pairs.parquet"
    for method in METHODS:
        rows[f"{method}, soft labels"] = measure(bench.train(method, "pairs", sl), bench)
    rows["dpo, hard labels"] = measure(bench.train("dpo", "hard", sl, "hard=true", f"data=[{pairs}]"), bench)
    bench.train("reward", "pairs", sl, "epochs=2")
    rows["reward model"] = reward_truth(bench.base / "pairs", bench)
    for name in ("placebo", "inverted-preachy"):
        bench.cai(
            "critique",
            "-c",
            f"constitution/{name}.yaml",
            "-r",
            name,
            "-p",
            "testbed",
            "--split",
            "train",
            "--limit",
            count,
        )
        rows[f"SL-CAI, {name}"] = measure(bench.train("sft", name, "tiny", "epochs=2"), bench)
    return rows


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """Mean over seeds, with the lowest and highest bound of the seeds' intervals."""
    names = list(next(iter(results.values())))
    lines = [f"{'':<28}" + "".join(f"{kind:>20}" for kind in KINDS)]
    for name in (n for n in names if n != "reward model"):
        cells = []
        for kind in KINDS:
            found = [seed[name][kind] for seed in results.values()]
            mean = sum(f["share"] for f in found) / len(found)
            cells.append(f"{mean:>7.1%} [{min(f['low'] for f in found):.0%}, {max(f['high'] for f in found):.0%}]")
        lines.append(f"{name:<28}" + "".join(f"{cell:>20}" for cell in cells))
    for seed, rows in results.items():
        r = rows["reward model"]
        right = f"right on {r['share']:.1%} of {r['n']} pairs"
        lines.append(f"reward model, seed {seed}: {right}, length bias {r['length_bias']:+.2f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--prompts", type=int, default=400, help="training requests a stage")
    parser.add_argument("--tests", type=int, default=200, help="held-out requests")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/training"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_testbed.json"))
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for seed in options.seeds.split(","):
        bench = Bench(options.work / f"seed-{seed}", int(seed), options.prompts, options.tests)
        results[seed] = run_seed(bench)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        sizes = {"prompts": options.prompts, "tests": options.tests}
        options.out.write_text(json.dumps({**sizes, "seeds": results}, indent=2) + "\n", "utf-8")
        print("\n".join(table(results)), flush=True)


if __name__ == "__main__":
    main()
