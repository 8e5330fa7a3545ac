"""Settings of `cai train iterate`: rounds of labels and learning from them, each on what the last policy says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cai.config.base import Seed, Settings
from cai.config.methods import PREFERENCE, Preference, Reinforcement
from cai.strict_yaml.validate import Misfit


class IterateSettings(Settings):
    """Online rounds. How each part works stands in the sections `label`, that of the method and maybe `reward`."""

    run: str = Field(default="iterate", description="Name of the run's folder in runs/; the same name again resumes.")
    model: str = Field(
        default="tiny",
        description="Policy to start from, best the model of a `cai train sft`; the KL is measured to it.",
    )
    constitution: str = Field(default="default", description="Constitution of the labels and of a held-out judge.")
    judge_model: str = Field(
        default="tiny", description="Model that judges, on the `engine` section's engine; `label.judges` beats it."
    )
    prompts: str = Field(default="testbed", description="Prompts: a file, a dataset, or `testbed` (its train split).")
    split: str = Field(default="", description="Split of a dataset; the testbed's `train` unless given.")
    column: str = Field(default="", description="Column that holds the prompt, where it is not one of the known names.")
    rounds: int = Field(default=3, ge=1, description="Rounds; raising it later goes on from the last one.")
    prompts_per_round: int = Field(default=200, ge=2, description="New prompts labelled in each round.")
    method: Literal[Reinforcement, Preference] = Field(
        default="grpo",
        description="Method that trains the policy in each round; a preference method needs no reward model.",
    )
    replay: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the earlier rounds' labelled prompts that a round learns from as well; by default all "
        "for a reward model, none for a preference method.",
    )
    candidates: int = Field(
        default=2,
        ge=2,
        le=16,
        description="Replies drawn a prompt from the second round on; the judge labels the best and the worst of them "
        "by the last round's reward model. With 2 there is nothing to choose.",
    )
    seed: Seed = Field(default=0, description="Seed of everything random; each round has its own from it.")

    @model_validator(mode="after")
    def _check_candidates(self) -> IterateSettings:
        if self.candidates > 2 and self.method in PREFERENCE:
            what = f"candidates are chosen by a reward model, and rounds of {self.method} have none"
            raise Misfit(what, "leave it out, or use a method with a reward model, such as grpo")
        return self
