"""One seed of the reinforcement benchmark: its policies and their replies to test requests, each kept on disk.

It starts from the training benchmark's SL-CAI policy (two cells: from the base model) and reward model of the same
seed, in the same folder: what that one has made is not made again. As there, nothing is trained on what the oracle
says; it only watches the runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rl_table import CELLS, LENGTH_BIAS, UPDATES, Cell, RLSizes
from benchmarks.training_cells import BASE, RED, REPLY_TOKENS, Bench, draw_replies, half_red, label_share
from benchmarks.training_table import DATA, HARMLESS_PAIRS, PAIRS, TRAININGS
from cai.cli import rl_job, rl_work
from cai.cli.train_job import prepare_training, train_job
from cai.config.rl import RLSettings
from cai.config.train import TrainSettings
from cai.records import Prompt
from cai.seeds import content_id
from cai.testbed.world import prompts

if TYPE_CHECKING:
    from cai.cli.rl_sources import JudgeWins
    from cai.train.rl.loop import Task
    from cai.train.rl.rollout import Sample

START, REWARD = "sl", "reward"
REPLIES = 4


@dataclass(frozen=True, slots=True)
class ByKind:
    """The judge's comparisons as a reward: on red-team requests for harmlessness, on the others for helpfulness."""

    red: JudgeWins
    plain: JudgeWins
    name: str = "wins"

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return await self._dealt(samples, lambda judge, part: judge.score([samples[i] for i in part]))

    async def against(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float | None]:
        return await self._dealt(
            samples, lambda judge, part: judge.against([samples[i] for i in part], [texts[i] for i in part])
        )

    async def _dealt(self, samples: Sequence[Sample], ask: Any) -> list[float | None]:
        found: list[float | None] = [None] * len(samples)
        for judge, red in ((self.red, True), (self.plain, False)):
            part = [i for i, sample in enumerate(samples) if (sample.prompt.category in RED) == red]
            for i, value in zip(part, await ask(judge, part), strict=True):
                found[i] = value
        return found


@dataclass(frozen=True, slots=True)
class RLBench:
    """One seed's folder and sizes."""

    bench: Bench
    sizes: RLSizes

    @property
    def base(self) -> Path:
        return self.bench.base / f"rl-{content_id(*asdict(self.sizes).values())[:8]}"

    def folder(self, name: str) -> Path:
        """Where a cell's policy and its metrics lie, whether it has begun or not."""
        run, cell = self.run_name(name), CELLS[name]
        return self.base / (f"{run}-{cell.rounds}" if cell.pays == "rounds" else run) / cell.method

    def run_name(self, name: str) -> str:
        """With a hash of all that the cell depends on beside its seed and sizes."""
        cell, start, reward = CELLS[name], TRAININGS[START], TRAININGS[REWARD]
        own = (cell, UPDATES[cell.method], LENGTH_BIAS)
        paid = HARMLESS_PAIRS if cell.pays == "harmless" else ""
        data = [DATA[d] for d in (*start.data, start.replay, *reward.data, cell.mix, paid) if d]
        return f"{name}-{content_id(repr(own), repr((start, reward)), repr(data))[:8]}"

    def make(self, name: str) -> None:
        """Train the cell's policy, or go on, and draw its replies; keeps the seconds of this call beside them."""
        file = self.folder(name) / "cell.json"
        if file.is_file():
            return
        began, cell = time.perf_counter(), CELLS[name]
        if cell.pays == "rounds":
            self._rounds(name)
        else:
            paying = {"labels": self._labels, "harmless": self._harmless, "length": self._length}
            pays = "wins" if cell.pays == "judge" else paying[cell.pays]()
            self.learn(cell, self.run_name(name), str(self.bench.train(cell.start)), pays, self._steps(cell))
        trained = time.perf_counter() - began
        # The training benchmark's test requests, with its seeds.
        replies = draw_replies(str(self.folder(name) / "model"), self.bench.seed, "test", self.bench.held_out())
        file.write_text(json.dumps({"seconds": round(trained, 1), "replies": replies}, indent=0), "utf-8")
        gc.collect()

    def watched(self) -> list[Prompt]:
        """Validation requests of the evaluations: half of them red-team."""
        return half_red("validation", self.sizes.watched, self.bench.seed)

    def _steps(self, cell: Cell) -> int:
        return cell.steps or self.sizes.steps

    def _learnt_on(self, cell: Cell) -> Path:
        """Requests that a policy is trained on: half of them red-team, or all where harmlessness alone pays."""
        count, seed = self._steps(cell) * self.sizes.prompts, self.bench.seed
        if cell.pays == "harmless":
            return self._file(f"learn-red-{count}", prompts("train", count, seed, RED))
        return self._file(f"learn-{count}", half_red("train", count, seed))

    def _labels(self) -> str:
        self.bench.train(REWARD)
        return str(self.bench.folder(REWARD))

    def _harmless(self) -> str:
        """A reward model of labels of the base model's replies to red-team requests alone."""
        return self.reward("reward-harmless", [self.bench.data(HARMLESS_PAIRS)], BASE)

    def learn(self, cell: Cell, run: str, model: str, pays: str, steps: int, seed: int | None = None) -> None:
        """One training of a policy with a cell's numbers, resumed where it was stopped."""
        settings = RLSettings.model_validate(
            {
                "run": run, "model": model, "reference": str(self.bench.train(cell.start)), "steps": steps,
                "seed": self.bench.seed if seed is None else seed, "save_every": 10,
                "prompts": str(self._learnt_on(cell)), "rewards": [pays],
                "watch_prompts": str(self._file("watch", self.watched())), "held_out": "oracle",
                "watch": {"every": self.sizes.every, "prompts": self.sizes.watched},
                "rollout": {"prompts_per_step": self.sizes.prompts, "replies": REPLIES, "max_tokens": REPLY_TOKENS},
                "update": UPDATES[cell.method], "kl": {"coefficient": cell.kl},
                "constitution": DATA["pairs-red"].constitution,
                "ptx_data": str(self.bench.data(cell.mix)) if cell.mix else "", **cell.settings,
            }
        )  # fmt: skip
        print(f"{run}: {steps} steps", flush=True)
        task_of = _judged if cell.pays == "judge" else None
        rl_work.work(rl_job.prepare(cell.method, settings, self.base), lambda step, steps, metrics: None, task_of)

    def _file(self, name: str, drawn: Sequence[Prompt]) -> Path:
        file = self.base / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"messages": [m.model_dump() for m in p.messages], "category": p.category} for p in drawn]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return file

    def _length(self) -> str:
        """A reward model of the same pairs whose labels were turned towards the longer reply."""
        import pyarrow.parquet as pq

        self.base.mkdir(parents=True, exist_ok=True)
        files = list[Path]()
        for name in PAIRS:
            table = pq.read_table(self.bench.data(name))
            files.append(self.base / f"{name}-longer.parquet")
            pq.write_table(_longer(table), files[-1])
        return self.reward("reward-longer", files)

    def reward(self, run: str, pairs: Sequence[Path], start: str = START, members: int = 1) -> str:
        """A reward model, or several, as the training benchmark makes it, on other pairs and maybe another body."""
        given = {
            "run": run, "model": str(self.bench.train(start)), "data": [str(p) for p in pairs], "batch_size": 32,
            "seed": self.bench.seed, "mixed_constitutions": True, "micro_batch": 16, "eval_share": 0.0,
            "check_every": 1_000_000, "ensemble": members, **TRAININGS[REWARD].settings,
        }  # fmt: skip
        train_job(prepare_training("reward", TrainSettings.model_validate(given), self.base), self.base)
        gc.collect()
        return str(self.base / run / "reward")

    def _rounds(self, name: str) -> None:
        """As `cai train iterate`, with the labels of either kind of request under their own constitution.

        Labels and steps are dealt out: each round labels what the newest policy says to new requests, trains a reward
        model on all labels so far, and goes on from the policy it has.
        """
        run, cell = self.run_name(name), CELLS[name]
        model, pairs = str(self.bench.train(START)), list[Path]()
        for number in range(1, cell.rounds + 1):
            pairs += [self._label(name, kind, number, model) for kind in PAIRS]
            pays = self.reward(f"{run}-{number}", pairs)
            seed = self.bench.seed * cell.rounds + number
            self.learn(cell, f"{run}-{number}", model, pays, self._steps(cell) // cell.rounds, seed)
            model = str(self.base / f"{run}-{number}" / cell.method / "model")

    def _label(self, name: str, kind: str, number: int, policy: str) -> Path:
        """Pairs of one round and one kind of request: the round's share of the requests that the cell labels."""
        run, cell = f"{self.run_name(name)}-{number}-{kind}", CELLS[name]
        lines = self.bench.requests(DATA[kind].requests).read_text("utf-8").splitlines(keepends=True)
        share = lines[:: cell.every][number - 1 :: cell.rounds]
        return label_share(self.base, run, share, DATA[kind].constitution, self.bench.seed, policy)


def _judged(job: rl_job.Job, judge: Any) -> Task:
    """The task of the cell that the judge pays itself, under the constitutions that the labels were made with."""
    from cai.cli.rl_build import make_task
    from cai.cli.rl_sources import JudgeWins
    from cai.constitution import load_constitution
    from cai.train.rl.rewards import RewardSum

    at_once = asyncio.Semaphore(job.settings.judge.in_flight)
    red, plain = (
        JudgeWins(judge, load_constitution(DATA[kind].constitution).principles, job.settings.seed, at_once)
        for kind in PAIRS
    )
    return replace(make_task(job, judge), rewards=RewardSum(((ByKind(red, plain), 1.0),)))


def _longer(table: Any) -> Any:
    """The pairs with labels whose log-odds grow with the words by which the chosen reply is longer."""
    import math

    import pyarrow as pa

    rows = table.to_pylist()
    for row in rows:
        words = len(_text(row["chosen"]).split()) - len(_text(row["rejected"]).split())
        p = min(max(row["p_chosen"], 1e-6), 1.0 - 1e-6)
        q = 1.0 / (1.0 + math.exp(-(math.log(p / (1.0 - p)) + LENGTH_BIAS * words)))
        if q < 0.5:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        row["p_chosen"] = max(q, 1.0 - q)
    return pa.Table.from_pylist(rows, schema=table.schema)


def _text(reply: Any) -> str:
    """The text of a reply in either of the forms that pairs are written in."""
    return reply if isinstance(reply, str) else " ".join(message["content"] for message in reply)
