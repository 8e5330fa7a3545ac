"""What reinforcement learning does on the testbed, where the truth is known: test requests, the oracle, 95 % intervals.

    python -m benchmarks.rl_testbed [--rows core|all|"NAME;…"] [--seeds 0,1,2] [--model tiny] [--out FILE.json]

From an SL-CAI checkpoint and AI labels: PPO and GRPO (the core rows), two KL coefficients, a run without KL that is
paid for length, PPO with the supervised mix, the judge as reward, online rounds against one. Every policy answers the
same test requests at temperature 1; the oracle reads the replies and is never asked while anything trains, except to
watch. A row that stands in the JSON is not made again, and a training that was stopped goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions
from cai.measures.intervals import wilson
from cai.seeds import content_id

SL = "SL-CAI"
STEPS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """A policy of the table: the method that trains it from SL-CAI, what pays, and what differs from the defaults."""

    name: str
    method: str
    pays: str
    """`model` (the reward model), `wins` (the judge itself), or `rounds` (a new reward model each round)."""
    settings: tuple[str, ...] = ()
    core: bool = False


ROWS = (
    Row("ppo", "ppo", "model", ("kl.coefficient=0.03",), core=True),
    Row("grpo", "grpo", "model", ("kl.coefficient=0.03",), core=True),
    Row("grpo, weak KL", "grpo", "model", ("kl.coefficient=0.003",)),
    Row("grpo, strong KL", "grpo", "model", ("kl.coefficient=0.3",)),
    Row("grpo, no KL, paid for length", "grpo", "model", ("kl.coefficient=0", "reward.length_cost=-0.1")),
    Row("ppo-ptx", "ppo", "model", ("kl.coefficient=0.03", "ppo.ptx=0.5")),
    Row("grpo, judge as reward", "grpo", "wins", ("kl.coefficient=0.03",)),
    Row("grpo, three rounds", "grpo", "rounds", ("kl.coefficient=0.03",)),
)
COMMON = (
    "limit=1200",
    "save_every=10",
    "rollout.prompts_per_step=32",
    "rollout.replies=4",
    "rollout.max_tokens=96",
    "update.micro_prompts=32",
    "watch.every=10",
    "watch.prompts=96",
)
BY_METHOD = {
    "ppo": ("update.learning_rate=2e-4", "update.epochs=2", "update.minibatches=2"),
    "grpo": ("update.learning_rate=2e-4", "update.minibatches=2"),
}
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Bench:
    """One seed's folder and sizes."""

    base: Path
    seed: int
    prompts: int
    tests: int
    model: str
    steps: int = STEPS

    def cai(self, *words: str) -> None:
        """A command as a user gives it, in this process."""
        from cai.cli.app import build

        given = [*words, "--in", str(self.base), "--seed", str(self.seed)]
        print(f"$ cai {' '.join(given)}", flush=True)
        build(words[0])(args=given, standalone_mode=False)

    def supervised(self) -> str:
        """SL-CAI: critique, revision, supervised training."""
        if not (self.base / "main/sft/model").is_dir():
            from_train = ("--split", "train", "--limit", str(self.prompts))
            self.cai("critique", "-r", "main", "-m", self.model, "-p", "testbed", *from_train, "--max-tokens", "96")
            shape = ("epochs=2", "batch_size=32", "micro_batch=16")
            self.cai("train", "sft", "-r", "main", "-m", self.model, *shape)
        return str(self.base / "main/sft/model")

    def reward(self) -> str:
        """A reward model on the base model's judgements of SL-CAI's replies."""
        if not (self.base / "main/reward/model").is_dir():
            like = ("label.samples=4", "label.max_tokens=96")
            self.cai(
                "label", "-r", "main", "-m", self.supervised(), "--judge", self.model, "--split", "train",
                "--limit", str(self.prompts), *like,
            )  # fmt: skip
            self.cai("train", "reward", "-r", "main", "-m", self.model, "epochs=2", "batch_size=32", "micro_batch=16")
        return str(self.base / "main/reward")

    def policy(self, row: Row) -> Path:
        """Train the row's policy; the folder that holds `model` and the metrics."""
        run = row.name.replace(",", "").replace(" ", "-")
        steps = (f"steps={self.steps}",)
        settings = (*steps, *COMMON, *BY_METHOD[row.method], *row.settings, f"judge.model={self.model}")
        if row.pays == "rounds":
            return self._rounds(run, row, settings)
        if any(setting.startswith("ppo.ptx") for setting in row.settings):
            settings = (*settings, f"ptx_data={self.base / 'main/sft.parquet'}")
        pays = self.reward() if row.pays == "model" else row.pays
        self.cai("train", row.method, "-r", run, "-m", self.supervised(), "--reward", pays, *settings)
        return self.base / run / row.method

    def _rounds(self, run: str, row: Row, settings: Sequence[str]) -> Path:
        """The same number of labels and of steps, in rounds: each one's reward model has seen the newest policy."""
        own = [f"{row.method}.{setting}" for setting in settings if not setting.startswith("steps=")]
        self.cai(
            "train", "iterate", "-r", run, "-m", self.supervised(), f"method={row.method}", f"judge_model={self.model}",
            f"rounds={ROUNDS}", f"prompts_per_round={self.prompts // ROUNDS}", "label.samples=4", "label.max_tokens=96",
            "reward.epochs=2", "reward.micro_batch=16", f"reward.model={self.model}",
            f"{row.method}.steps={self.steps // ROUNDS}", *own,
        )  # fmt: skip
        return self.base / run / f"iterate/round-{ROUNDS}" / row.method


def replies_of(model: str, bench: Bench) -> list[tuple[Any, str]]:
    """One reply at temperature 1 to each held-out test request."""
    from cai.cli.engines import open_engine
    from cai.config.engine import EngineSettings
    from cai.engine.protocol import Sampling, Turn
    from cai.seeds import seed_for
    from cai.testbed.world import KINDS, prompts

    harm, other = ("harmful", "attack"), [k for k in KINDS if k not in ("harmful", "attack", "borderline", "privacy")]
    asked = [
        *prompts("test", bench.tests, bench.seed, harm),
        *prompts("test", bench.tests, bench.seed, ("borderline",)),
        *prompts("test", bench.tests, bench.seed, other),
    ]
    engine = open_engine(EngineSettings(model=model))

    async def draw() -> list[str]:
        calls = [
            engine.generate(
                tuple(Turn.of(m) for m in p.messages),
                Sampling(seed_for(bench.seed, "bench", p.id), 1.0, max_tokens=96),
            )
            for p in asked
        ]
        found = [completion.text for completion in await asyncio.gather(*calls)]
        await engine.close()
        return found

    return list(zip(asked, asyncio.run(draw()), strict=True))


def measure(model: str, bench: Bench) -> dict[str, Any]:
    """Shares of the replies with each property, with Wilson intervals."""
    from cai.testbed.oracle import read

    drawn = replies_of(model, bench)
    readings = [read(p, text) for p, text in drawn]
    harmful = [r for r in readings if r.kind == "harmful"]
    borderline = [r for r in readings if r.kind == "borderline"]
    benign = [r for r in readings if r.kind not in ("harmful", "privacy", None)]
    return {
        "harmful": share([r.harmful for r in harmful]),
        "helpful": share([r.helpful for r in benign]),
        "over-refuses borderline": share([r.over_refuses for r in borderline]),
        "preachy": share(["preachy" in r.attributes for r in readings]),
        "evasive": share(["evasive" in r.attributes for r in readings]),
        "words": sum(len(text.split()) for _, text in drawn) / len(drawn),
        "unparsed": sum(r.unparsed for r in readings) / len(readings),
    }


def share(hits: Sequence[bool]) -> dict[str, float]:
    """A share with its Wilson interval."""
    low, high = wilson(sum(hits), max(1, len(hits)))
    return {"share": sum(hits) / max(1, len(hits)), "low": low, "high": high, "n": len(hits)}


def watched(folder: Path) -> dict[str, Any]:
    """What the run itself saw: reward and KL at its last evaluation, and the names of its warnings."""
    seen = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text("utf-8").splitlines()]
    paid = [value for value in seen[-1]["reward_P"] if value is not None]
    names = sorted({warned["name"] for one in seen for warned in one["warnings"]})
    return {"kl": seen[-1]["kl"], "reward": sum(paid) / len(paid), "warnings": names}


def make_row(name: str, bench: Bench) -> dict[str, Any]:
    """One cell of the table: train what it needs, measure it."""
    began = time.perf_counter()
    if name == "base":
        found = measure(bench.model, bench)
    elif name == SL:
        found = measure(bench.supervised(), bench)
    else:
        folder = bench.policy(next(row for row in ROWS if row.name == name))
        found = {**measure(str(folder / "model"), bench), **watched(folder)}
    return {**found, "seconds": round(time.perf_counter() - began, 1)}


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    **{
        name: lambda cell, name=name: f"{cell[name]['share']:.1%}"
        for name in ("harmful", "helpful", "over-refuses borderline", "preachy", "evasive")
    },
    "KL": lambda cell: f"{cell['kl']:.2f}" if "kl" in cell else "",
    "reward": lambda cell: f"{cell['reward']:+.2f}" if "reward" in cell else "",
    "words": lambda cell: f"{cell['words']:.0f}",
    "warnings": lambda cell: ", ".join(cell.get("warnings", ())),
}


def pooled(cells: Sequence[dict[str, Any]], name: str) -> str:
    """The share over all seeds' replies with its interval: each seed is another training on other requests."""
    hits = sum(round(cell[name]["share"] * cell[name]["n"]) for cell in cells)
    n = sum(int(cell[name]["n"]) for cell in cells)
    low, high = wilson(hits, n)
    return f"{hits / n:.1%} ({low:.1%} to {high:.1%})"


def table(cells: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A Markdown table: shares pooled over the seeds, other numbers seed by seed."""
    lines = ["| | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in ("base", SL, *(row.name for row in ROWS)):
        found = [rows[name] for rows in cells.values() if name in rows]
        if not found:
            continue
        texts = [
            pooled(found, column) if isinstance(found[0].get(column), dict) else " / ".join(map(show, found))
            for column, show in COLUMNS.items()
        ]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(texts) + " |")
    return lines


def fingerprint(model: str) -> str:
    """Of the weights that draft, criticise and judge."""
    from cai.config.train import TrainSettings
    from cai.train.loading import open_base

    return open_base(TrainSettings(model=model)).files.fingerprint


def stored_cells(out: Path, key: str) -> dict[str, dict[str, Any]]:
    """The rows by seed that an earlier start has made with these weights, sizes and settings; else none."""
    if not out.exists():
        return {}
    stored = json.loads(out.read_text("utf-8"))
    if stored["key"] == key:
        return stored["cells"]
    print(f"{out} was made with other weights or sizes: starting anew", flush=True)
    return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="core", help="core, all, or names separated by `;`")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--prompts", type=int, default=240, help="training requests of critique and of labels")
    parser.add_argument("--tests", type=int, default=150, help="test requests of each of three groups")
    parser.add_argument("--steps", type=int, default=STEPS, help="rollout-and-update steps of each policy")
    parser.add_argument("--model", default="tiny", help="the model that drafts, criticises and judges")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/rl"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rl_testbed.json"))
    options = parser.parse_args()
    chosen = {"core": [r.name for r in ROWS if r.core], "all": [r.name for r in ROWS]}
    wanted = ["base", SL, *chosen.get(options.rows, [name for name in options.rows.split(";") if name])]
    sizes = {"prompts": options.prompts, "tests": options.tests, "steps": options.steps, "model": options.model}
    about = {"sizes": sizes, "common": COMMON, "by_method": BY_METHOD, "weights": fingerprint(options.model)}
    key = content_id("rl-testbed", about)[:12]
    cells = stored_cells(options.out, key)
    for seed in options.seeds.split(","):
        work = options.work / key / f"seed-{seed}"
        bench = Bench(work, int(seed), options.prompts, options.tests, options.model, options.steps)
        for name in wanted:
            if name in cells.setdefault(seed, {}):
                continue
            cells[seed][name] = make_row(name, bench)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            rows = [asdict(row) for row in ROWS]
            found = {"key": key, **about, "rows": rows, "conditions": conditions(), "cells": cells}
            options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            print(f"seed {seed}, {name}: {cells[seed][name]['seconds']:.0f} s", flush=True)
    print("\n".join(table(cells)), flush=True)


if __name__ == "__main__":
    main()
