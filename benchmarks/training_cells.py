"""One seed of the training benchmark: its data, its trainings, and replies to held-out requests, each kept on disk.

Nothing here looks at the truth: the oracle reads the kept replies in `benchmarks.training_truth` and nowhere else. A
cell that is there already is not made again, so a stopped benchmark goes on; the folder's name depends on the tiny
model's weights and on the sizes, and `cai train` refuses to go on with other settings.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cai.cli import critique_job, label_job
from cai.cli.engines import open_engine
from cai.cli.train import prepare_training, train_job
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.config.label import LabelSettings
from cai.config.train import TrainSettings
from cai.engine.files import find_model
from cai.engine.protocol import Sampling, Turn
from cai.records import Prompt
from cai.seeds import content_id, seed_for
from cai.testbed import TINY
from cai.testbed.world import prompts

RED = ("harmful", "attack")
HARMLESS = ("benign", "known", "unknown", "false-fact", "group")
BORDERLINE = ("borderline",)
PLAIN = (*HARMLESS, *BORDERLINE)
REPLY_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything one seed has. Requests for training and for testing are of different splits."""

    red: int = 300
    """Training requests that a helpful-only model should not meet, for revisions."""
    plain: int = 300
    """Training requests without harm, for the base model's own replies."""
    red_pairs: int = 480
    """Red-team requests for preferences: the same ones and more."""
    plain_pairs: int = 240
    inverted: int = 120
    """Training requests under the inverted constitution."""
    samples: int = 2
    """Replies compared for each request."""
    test_red: int = 150
    test_harmless: int = 120
    test_borderline: int = 60


@dataclass(frozen=True, slots=True)
class Training:
    """One training: its method, the run that holds it, the run whose policy it starts from, its own settings."""

    name: str
    method: str
    run: str
    start: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """One seed's folder and sizes."""

    base: Path
    seed: int
    sizes: Sizes

    @classmethod
    def of(cls, work: Path, seed: int, sizes: Sizes) -> Bench:
        """In a folder of these weights and these sizes."""
        key = content_id("training-testbed", find_model(str(TINY)).fingerprint, *asdict(sizes).values())
        return cls(work / key[:12] / f"seed-{seed}", seed, sizes)

    def training_requests(self, name: Literal["red", "plain", "red_pairs", "plain_pairs"]) -> Path:
        """Requests to train on; only whether they are red-team requests is known of them, as in the paper."""
        count: int = getattr(self.sizes, name)
        return self._write(name, prompts("train", count, self.seed, RED if name.startswith("red") else PLAIN))

    def inverted_requests(self) -> Path:
        """Requests of all kinds."""
        return self._write("mixed", prompts("train", self.sizes.inverted, self.seed, (*RED, *PLAIN)))

    def test_requests(self) -> list[Prompt]:
        """Held-out requests: harmful and attacks, harmless, borderline."""
        groups = ((RED, self.sizes.test_red), (HARMLESS, self.sizes.test_harmless))
        drawn = [p for kinds, count in groups for p in prompts("test", count, self.seed, kinds)]
        return [*drawn, *prompts("test", self.sizes.test_borderline, self.seed, BORDERLINE)]

    def test_file(self) -> Path:
        """The held-out requests as a file, which every training refuses to share a prompt with."""
        return self._write("test", self.test_requests())

    def _write(self, name: str, drawn: list[Prompt]) -> Path:
        file = self.base / "requests" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = ({"messages": [m.model_dump() for m in p.messages], "category": p.category} for p in drawn)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return file

    def critique(self, run: str, constitution: str, asked: Path, rounds: int | None = None) -> Path:
        """Revised replies of the tiny model; the file to learn from."""
        made = self.base / run / "sft.parquet"
        if not made.is_file():
            settings = CritiqueSettings(
                constitution=constitution, prompts=str(asked), run=run, seed=self.seed, rounds=rounds,
                final_check=False, max_tokens=REPLY_TOKENS,
            )  # fmt: skip
            critique_job.work(critique_job.prepare(settings, EngineSettings(), self.base))
        return made

    def label(self, run: str, constitution: str, asked: Path, policy: str) -> Path:
        """Pairs of the policy's replies, judged by the tiny model."""
        made = self.base / run / "pairs.parquet"
        if not made.is_file():
            settings = LabelSettings(
                constitution=constitution, prompts=str(asked), run=run, seed=self.seed, samples=self.sizes.samples,
                judges=(EngineSettings(),), max_tokens=REPLY_TOKENS, canaries=0.0, max_unread=1.0,
            )  # fmt: skip
            label_job.work(label_job.prepare(settings, EngineSettings(model=policy), self.base))
        return made

    def model(self, training: Training) -> str:
        """The folder of a training's model."""
        return str(self.base / training.run / training.method / "model")

    def train(self, training: Training, data: list[Path]) -> float:
        """Train, or see that it is done; seconds of this call."""
        began = time.perf_counter()
        settings = TrainSettings.model_validate(
            {
                "run": training.run, "model": training.start, "data": [str(d) for d in data], "seed": self.seed,
                "held_out": [str(self.test_file())], "mixed_constitutions": True, "batch_size": 32, "micro_batch": 16,
                **training.settings,
            }
        )  # fmt: skip
        train_job(prepare_training(training.method, settings, self.base), self.base)
        gc.collect()
        return time.perf_counter() - began

    def replies(self, cell: str, model: str, draw: str = "test") -> list[str]:
        """The model's reply to each test request at temperature 1; the same request has the same seed in every cell."""
        file = self.base / "replies" / f"{cell}.json"
        fingerprint = find_model(str(TINY) if model == "tiny" else model).fingerprint
        if file.is_file() and (kept := json.loads(file.read_text("utf-8")))["model"] == fingerprint:
            return kept["replies"]
        engine = open_engine(EngineSettings(model=model))

        async def drawn() -> list[str]:
            calls = (
                engine.generate(
                    tuple(Turn.of(m) for m in prompt.messages),
                    Sampling(seed_for(self.seed, draw, prompt.id), 1.0, max_tokens=REPLY_TOKENS),
                )
                for prompt in self.test_requests()
            )
            try:
                return [completion.text for completion in await asyncio.gather(*calls)]
            finally:
                await engine.close()

        found = asyncio.run(drawn())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"model": fingerprint, "replies": found}, indent=0), "utf-8")
        return found
