"""Depth `policy`: train one policy on each side's replies by the same recipe, run the same suites, compare them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.compare_given import Given, echo
from cai.cli.critique_job import Job
from cai.cli.terminal import one_line
from cai.config import load_settings
from cai.config.evaluate import EvaluateSettings
from cai.config.train import TrainSettings

if TYPE_CHECKING:
    from cai.cli.evaluate_job import Loaded
    from cai.compare.result import Result
    from cai.evaluate.suite import Answer
    from cai.store import Counts


async def policies(given: Given, jobs: Sequence[Job], result: Result, tally: list[Counts]) -> Result:
    """The result with the suites' contrasts of every two trained policies, and a sentence for each in the headline."""
    from cai.cli.evaluate_job import run_suites
    from cai.compare.headline import not_shown, shown

    settings, loaded = suites_of(given)
    answers: dict[str, dict[str, list[Answer]]] = {}
    for job in jobs:
        name = job.plan.constitution.name
        model = await asyncio.to_thread(train, given, job)
        echo(f"suites for the policy of {one_line(name)}")
        own = settings.model_copy(update={"run": f"{job.settings.run}-policy"})
        spec = given.spec.model_copy(update={"model": str(model)})
        answers[name] = await run_suites(own, spec, loaded, given.base, tally)
    suites = [score for a, b in combinations(answers, 2) for score in _scores(loaded, a, b, answers, settings.seed)]
    primary = [score.contrast for score in suites if score.contrast.primary]
    said = [f"policies: {shown(c) if c.shown else not_shown([c])} ({c.b} against {c.a})." for c in primary]
    return result.model_copy(update={"suites": tuple(suites), "headline": (*said, *result.headline)})


def suites_of(given: Given) -> tuple[EvaluateSettings, list[Loaded]]:
    """The suites every policy runs, read and checked. Raises InputError(s) with file and line."""
    from cai.cli.evaluate_job import load_suites

    flags = {
        "suites": given.settings.suites,
        "seed": given.settings.seed,
        "data": str(given.data) if given.data else None,
    }
    settings = load_settings(EvaluateSettings, "evaluate", given.recipe, given.overrides, flags)
    return settings, load_suites(settings)


def _scores(loaded: Sequence[Loaded], a: str, b: str, answers: dict[str, dict[str, list[Answer]]], seed: int):
    from cai.compare.result import SuiteScore
    from cai.evaluate.scores import side_by_side

    return [
        SuiteScore(suite=one.suite.name, contrast=contrast)
        for one in loaded
        for contrast in side_by_side(one.suite, a, b, answers[a][one.suite.name], answers[b][one.suite.name], seed)
    ]


def train(given: Given, job: Job) -> Path:
    """The policy fine-tuned on the side's own replies; a finished training is taken as it is. Returns its folder."""
    from cai.cli.train_job import prepare_training, train_job

    name = job.settings.run
    model = given.base / name / given.settings.method / "model"
    if not (model / "config.json").is_file():
        echo(f"training a policy on {name}")
        flags = {"run": name, "model": given.spec.model, "seed": given.settings.seed}
        settings = load_settings(TrainSettings, "train", given.recipe, given.overrides, flags)
        train_job(prepare_training(given.settings.method, settings, given.base), given.base)
    return model
