"""Settings of `cai compare`: how deep, on what, by which judges, with which controls."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings
from cai.config.engine import EngineSettings
from cai.config.label import Mode

Depth = Literal["text", "data", "policy"]


class CompareSettings(Settings):
    """What is compared and how. The `critique` and `engine` sections say how replies are made."""

    depth: Depth = "data"
    """text (only the wording), data (critique and judge), policy (train each by the same recipe and run suites)."""
    run: str = "compare"
    """Name of the report's folder in runs/, and the start of the names of the runs it makes."""
    prompts: str = "testbed"
    """Prompts: a JSONL, CSV, Parquet or text file, a dataset, or `testbed`."""
    limit: int | None = Field(default=200, ge=1)
    """Use only so many prompts from the start."""
    seed: Seed = 0
    """Seed of everything random, the same for every side."""
    judge: bool = True
    """Judge every side's replies by every constitution and by an independent panel."""
    judges: tuple[EngineSettings, ...] = ()
    """The models that judge, where it is not the engine's."""
    mode: Mode = "logprob"
    """How judges answer: logprob (letter), cot, score, list or text."""
    judged: int = Field(default=100, ge=1)
    """Prompts whose replies are judged, from the start: each costs two questions per principle and two replies."""
    panel: str = ""
    """Constitution whose `judge` voices are the independent panel; by default a neutral one of our own."""
    leave_one_out: bool = False
    """Run each constitution again without each of its principles, to see which does the work."""
    placebo: bool = False
    """Add placebo constitutions as controls, shuffled and unrelated; the empty one is the drafts."""
    suites: tuple[str, ...] = ("testbed",)
    """Depth policy: suites that the trained policies run."""
    method: Literal["sft"] = "sft"
    """Depth policy: how each policy is trained, from its own side's replies and by the `train` section."""
    transcripts: int = Field(default=10_000, ge=0)
    """Most conversations in the HTML report, flips first."""
