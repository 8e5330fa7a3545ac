"""One seed of the training benchmark: its data, its trainings, and replies to held-out requests, each kept on disk.

Nothing here looks at the truth: the oracle reads the kept replies in `benchmarks.training_truth` and nowhere else.
What is there already is not made again. A folder's name depends on all that its content does (the tiny model's
weights, the sizes, a training's settings), so a changed setting makes its own cells again and no others.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.training_table import DATA, TRAININGS
from cai.cli import critique_job, label_job, label_work
from cai.cli.engines import open_engine
from cai.cli.train_job import prepare_training, train_job
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.config.label import LabelSettings, Principles
from cai.config.train import TrainSettings
from cai.engine.files import find_model
from cai.engine.protocol import Sampling, Turn
from cai.records import Prompt
from cai.seeds import content_id, seed_for
from cai.testbed import TINY
from cai.testbed.world import prompts
from cai.train.methods import METHODS
from cai.train.reference import FILE as REFERENCE

Split = Literal["validation", "test"]
RED = ("harmful", "attack")
HARMLESS = ("benign", "known", "unknown", "false-fact", "group")
BORDERLINE = ("borderline",)
PLAIN = (*HARMLESS, *BORDERLINE)
REPLY_TOKENS = 96
BASE = "base"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything one seed has. Requests for training and for testing are of different splits."""

    red: int = 300
    """Training requests that a helpful-only model should not meet, for revisions."""
    plain: int = 400
    """Training requests without harm, for the base model's own replies."""
    red_pairs: int = 300
    """Red-team requests for preferences: the same ones."""
    plain_pairs: int = 1200
    mixed: int = 120
    """Training requests of all kinds, for the inverted constitution."""
    test_red: int = 240
    test_harmless: int = 400
    test_borderline: int = 160


@dataclass(frozen=True, slots=True)
class Bench:
    """One seed's folder and sizes. Rates are chosen on the validation split and judged on the test split."""

    base: Path
    seed: int
    sizes: Sizes
    split: Split = "test"

    @classmethod
    def of(cls, work: Path, seed: int, sizes: Sizes, split: Split = "test") -> Bench:
        """In a folder of these weights and these sizes."""
        key = content_id("training-testbed", find_model(str(TINY)).fingerprint, *asdict(sizes).values())
        return cls(work / key[:12] / f"seed-{seed}", seed, sizes, split)

    def requests(self, name: str) -> Path:
        """Requests to train on; only whether they are red-team requests is known of them, as in the paper."""
        kinds = (*RED, *PLAIN) if name == "mixed" else RED if name.startswith("red") else PLAIN
        return self._write(name, prompts("train", getattr(self.sizes, name), self.seed, kinds))

    def held_out(self) -> list[Prompt]:
        """Requests that nothing trains on: harmful and attacks, harmless, borderline."""
        groups = ((RED, self.sizes.test_red), (HARMLESS, self.sizes.test_harmless))
        drawn = [p for kinds, count in groups for p in prompts(self.split, count, self.seed, kinds)]
        return [*drawn, *prompts(self.split, self.sizes.test_borderline, self.seed, BORDERLINE)]

    def _write(self, name: str, drawn: list[Prompt]) -> Path:
        file = self.base / "requests" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = ({"messages": [m.model_dump() for m in p.messages], "category": p.category} for p in drawn)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return file

    def data(self, name: str) -> Path:
        """The file of one entry of the table of data, made where it is missing."""
        entry = DATA[name]
        run = self._run(name, entry.policy)
        made = self.base / run / ("pairs.parquet" if entry.policy else "sft.parquet")
        if made.is_file():
            return made
        common = {"constitution": entry.constitution, "prompts": str(self.requests(entry.requests)), "run": run}
        common |= {"seed": self.seed, "max_tokens": REPLY_TOKENS}
        if not entry.policy:
            settings = CritiqueSettings.model_validate({**common, "final_check": False})
            critique_job.work(critique_job.prepare(settings, EngineSettings(), self.base))
            return made
        judged = {**common, "samples": 2, "judges": (EngineSettings(),), "canaries": 0.0, "max_unread": 1.0}
        judged |= {"min_margin": entry.min_margin}
        policy = EngineSettings(model=str(self.train(entry.policy)))
        label_work.work(label_job.prepare(LabelSettings.model_validate(judged), policy, self.base))
        return made

    def _run(self, name: str, start: str) -> str:
        """A run's name, with a hash of the settings of all trainings and data behind it."""
        chain = list[str]()
        while start and start != BASE:
            training = TRAININGS[start]
            chain += [repr(training), *(repr(DATA[d]) for d in (*training.data, training.replay) if d)]
            start = training.start
        return f"{name}-{content_id(*chain)[:8]}" if chain else name

    def folder(self, name: str) -> Path:
        """The folder of a training, whether it has begun or not."""
        return self.base / self._run(name, name) / TRAININGS[name].method

    def train(self, name: str) -> Path:
        """A training's model, made where it is missing, with what it starts from; the tiny one is the base."""
        if name == BASE:
            return TINY
        training, model = TRAININGS[name], self.folder(name) / "model"
        if model.is_dir():
            return model
        start = str(self.train(training.start)) if training.start else "tiny"
        given = {
            "run": model.parents[1].name, "model": start, "data": [str(self.data(d)) for d in training.data],
            "seed": self.seed, "held_out": [str(f) for f in self._test_files()], "mixed_constitutions": True,
            "batch_size": 32, "micro_batch": 16, "eval_share": 0.0, "check_every": 1_000_000, **training.settings,
        }  # fmt: skip
        if training.replay:
            given |= {"replay": str(self.data(training.replay)), "replay_share": 0.57}
        job = prepare_training(training.method, TrainSettings.model_validate(given), self.base)
        kept = self.base / "references" / self._run("-".join(training.data), training.start) / REFERENCE
        if kept.is_file() and METHODS[training.method].reference:
            # Made under the same policy on the same pairs; a training that has other tokens does not take it.
            job.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, job.folder / REFERENCE)
        train_job(job, self.base)
        if (job.folder / REFERENCE).is_file() and not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(job.folder / REFERENCE, kept)
        gc.collect()
        return model

    def _test_files(self) -> list[Path]:
        """Both held-out splits as files, which every training refuses to share a prompt with."""
        splits: tuple[Split, ...] = ("validation", "test")
        return [self._write(s, Bench(self.base, self.seed, self.sizes, s).held_out()) for s in splits]

    def reply_file(self, cell: str, draw: str = "") -> Path:
        """Where a cell's replies to the held-out requests are kept."""
        folder = self.base / BASE if cell == BASE else self.folder(cell)
        return folder / f"replies-{self.split}{draw}.json"

    def replies(self, cell: str, draw: str = "") -> list[str]:
        """The model's reply to each held-out request at temperature 1; a request has the same seed in every cell."""
        file = self.reply_file(cell, draw)
        if not file.is_file():
            model = "tiny" if cell == BASE else str(self.train(cell))
            found = draw_replies(model, self.seed, f"test{draw}", self.held_out())
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=0), "utf-8")
        return json.loads(file.read_text("utf-8"))


def half_red(split: Literal["train", "validation"], count: int, seed: int) -> list[Prompt]:
    """Requests of a split, half of them red-team and these first."""
    return [prompt for kinds in (RED, PLAIN) for prompt in prompts(split, count // 2, seed, kinds)]


def draw_replies(model: str, seed: int, draw: str, asked: Sequence[Prompt]) -> list[str]:
    """One reply a request at temperature 1; a request of a seed and a draw has the same seed with every model."""
    engine = open_engine(EngineSettings(model=model))

    async def drawn() -> list[str]:
        calls = (
            engine.generate(
                tuple(Turn.of(m) for m in prompt.messages),
                Sampling(seed_for(seed, draw, prompt.id), 1.0, max_tokens=REPLY_TOKENS),
            )
            for prompt in asked
        )
        try:
            return [completion.text for completion in await asyncio.gather(*calls)]
        finally:
            await engine.close()

    return asyncio.run(drawn())


def label_share(
    base: Path,
    run: str,
    lines: Sequence[str],
    constitution: str,
    seed: int,
    policy: str,
    principles: Principles = "random",
) -> Path:
    """Pairs of a policy's replies to these requests (lines of JSONL), judged by the tiny model; kept in `base`."""
    made = base / run / "pairs.parquet"
    if made.is_file():
        return made
    asked = base / f"{run}.jsonl"
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text("".join(lines), "utf-8")
    settings = LabelSettings.model_validate(
        {
            "constitution": constitution, "prompts": str(asked), "run": run, "seed": seed, "max_tokens": REPLY_TOKENS,
            "samples": 2, "judges": (EngineSettings(),), "canaries": 0.0, "max_unread": 1.0,
            "principles": principles,
        }
    )  # fmt: skip
    label_work.work(label_job.prepare(settings, EngineSettings(model=policy), base))
    return made
