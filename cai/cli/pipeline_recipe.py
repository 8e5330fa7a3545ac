"""The recipe of `cai run`: its stages, their settings, and what each takes from the ones before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.cli.pipeline_steps import section_of
from cai.config import load_settings
from cai.config.base import Settings
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.config.iterate import IterateSettings
from cai.config.label import LabelSettings
from cai.config.methods import PREFERENCE, REINFORCEMENT
from cai.config.rl import RLSettings
from cai.config.run import POLICY_STAGES, RunSettings
from cai.config.train import TrainSettings
from cai.errors import InputError, Where


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A recipe whose stages are read and checked one by one, because later ones load what earlier ones write."""

    settings: RunSettings
    recipe: Path | None
    overrides: Sequence[str]
    base: Path

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.base / self.settings.run

    def check(self) -> list[tuple[str, Settings]]:
        """Settings of every stage, before anything runs; raises InputError for a wrong one or an impossible order."""
        _check_order(self.settings.stages)
        return [(name, self.section(name)) for name in self.settings.stages]

    def section(self, name: str) -> Settings:
        """A stage's settings: its own section over what the pipeline says."""
        run = self.settings
        common: dict[str, object] = {"run": run.run, "seed": run.seed}
        if name == "critique":
            return self._load(CritiqueSettings, name, {**common, "constitution": run.constitution})
        if name == "label":
            return self._load(LabelSettings, name, {**common, "constitution": run.constitution})
        if name in REINFORCEMENT:
            return self._load(RLSettings, name, self._rl_inputs(name, common))
        if name == "iterate":
            own = {"model": self._start(name), "judge_model": run.model, "constitution": run.constitution}
            return self._load(IterateSettings, name, {**common, **own})
        if name == "evaluate":
            return run
        return self._load(TrainSettings, name, {**common, "model": self._start(name)})

    def models(self) -> dict[str, str]:
        """Name and folder of every policy the pipeline has made before its table, the base first."""
        made = {"base": self.settings.model}
        for name in self.before("evaluate"):
            if name == "sft" or name in POLICY_STAGES:
                made[name] = str(self.folder / name / "model")
        return made

    def _rl_inputs(self, name: str, common: dict[str, object]) -> dict[str, object]:
        run = self.settings
        inputs = {**common, "model": self._start(name), "constitution": run.constitution}
        if "reward" in self.before(name) and name != "spo":
            inputs["rewards"] = [str(self.folder / "reward")]
        return inputs

    def _start(self, name: str) -> str:
        """The model a training starts from: policies from the supervised one, a reward model from the base."""
        supervised = self.folder / "sft" / "model"
        return str(supervised) if name in POLICY_STAGES and "sft" in self.before(name) else self.settings.model

    def before(self, name: str) -> Sequence[str]:
        """The stages that are done when `name` runs; all of them where it does not."""
        stages = self.settings.stages
        return stages[: stages.index(name)] if name in stages else stages  # pyright: ignore[reportArgumentType]

    def _load(self, model: type[Any], name: str, inherited: dict[str, object]) -> Any:
        return section_of(model, name, self.recipe, self.overrides, inherited)

    def engine_for(self, model: str) -> EngineSettings:
        """The recipe's engine with another model."""
        return load_settings(EngineSettings, "engine", self.recipe, self.overrides, {"model": model})


def _check_order(stages: Sequence[str]) -> None:
    """A stage needs what another one writes: it must come after it."""
    needs = {
        "sft": "critique",
        "reward": "label",
        **dict.fromkeys(PREFERENCE, "label"),
    }
    for place, name in enumerate(stages):
        wanted = needs.get(name)
        if wanted is not None and wanted not in stages[:place]:
            raise InputError(f"{name} needs what {wanted} writes", f"put {wanted} before it", Where("run.stages"))
        if name in stages[:place]:
            raise InputError(f"{name} is named twice", "name it once", Where("run.stages"))
