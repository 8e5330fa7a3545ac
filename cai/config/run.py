"""Settings of `cai run`: the whole pipeline from one file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cai.config.base import Seed, Settings
from cai.config.methods import PREFERENCE, REINFORCEMENT, Preference, Reinforcement

Stage = Literal["critique", "sft", "label", "reward", Preference, Reinforcement, "iterate", "evaluate"]
POLICY_STAGES = (*PREFERENCE, *REINFORCEMENT, "iterate")
"""Stages that train the policy further, each from the supervised one."""


class RunSettings(Settings):
    """Which stages run, in this order, on which model, under which constitution; each has a section of its name."""

    run: str = Field(default="pipeline", description="Name of the run's folder in runs/; the same name again resumes.")
    model: str = Field(default="tiny", description="The model to start from, which also criticises and judges.")
    constitution: str = Field(default="default", description="Constitution of critique, label and rewards.")
    stages: list[Stage] = Field(
        default=["critique", "sft", "label", "reward", "grpo", "evaluate"],
        min_length=1,
        description="Stages in the order they run.",
    )
    seed: Seed = Field(default=0, description="Seed of every stage.")
    eval_prompts: str = Field(
        default="testbed", description="Prompts of the final table: a file, a dataset, or `testbed` (its test split)."
    )
    eval_limit: int = Field(default=200, ge=1, description="Prompts of the final table.")
