"""Settings of `cai critique`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings
from cai.config.engine import EngineSettings


class CritiqueSettings(Settings):
    """What is criticised, by which constitution, how, and what it may cost."""

    constitution: str = Field(
        min_length=1, default="default", description="Constitution: a YAML file, or the name of a shipped one."
    )
    prompts: str = Field(
        default="testbed",
        min_length=1,
        description="Prompts: a JSONL, CSV, Parquet or text file, a dataset's folder or hub name, or `testbed`.",
    )
    column: str = Field(default="", description="Column that holds the prompts; a known name is found by itself.")
    split: str = Field(default="", description="Split of a dataset that has several.")
    run: str = Field(default="critique", description="Name of the run's folder in runs/; the same name again resumes.")
    limit: int | None = Field(default=None, ge=1, description="Use only so many prompts from the start of the file.")
    seed: Seed = Field(default=0, description="Seed of everything random in the run.")
    rounds: int | None = Field(
        default=None, ge=0, le=32, description="Rounds of critique and revision; by default the constitution's."
    )
    final_check: bool | None = Field(
        default=None, description="Check the last reply against every principle; by default as the constitution says."
    )
    temperature: float = Field(
        default=1.0, ge=0, le=5, description="Sampling temperature of drafts, critiques and revisions."
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Sample from the likeliest tokens that make up this share."
    )
    max_tokens: int = Field(default=256, ge=1, description="Most tokens of one draft, critique or revision.")
    draft: EngineSettings | None = Field(
        default=None, description="The model that drafts, where it is not the engine's."
    )
    critic: EngineSettings | None = Field(
        default=None, description="The model that criticises, where it is not the engine's."
    )
    reviser: EngineSettings | None = Field(
        default=None, description="The model that revises, where it is not the critic's."
    )
    replies: Literal["final", "all"] = Field(
        default="final", description="Replies in sft.parquet: the last of each chain, or the revision of every step."
    )
    attempts: int = Field(default=3, ge=1, description="Attempts at one record before it is quarantined.")
    max_error_rate: float = Field(
        default=0.05, ge=0, le=1, description="Share of quarantined records above which the exit code is 1."
    )
    skip_bad_rows: bool = Field(default=False, description="Count unreadable rows and go on without them.")
    max_cost: float | None = Field(
        default=None, gt=0, description="Stop before the run costs more than this; needs a price; resumable."
    )
    price_in: float = Field(default=0.0, ge=0, description="Price of a million prompt tokens.")
    price_out: float = Field(default=0.0, ge=0, description="Price of a million tokens written by the model.")
    probe: int = Field(default=10, ge=0, description="Prompts that a dry run really asks, to measure time and tokens.")
