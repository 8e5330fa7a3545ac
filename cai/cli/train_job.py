"""A training of the supervised methods: settings to a checked job, the job to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cai.cli.step_lines import show_step
from cai.config.train import TrainSettings

if TYPE_CHECKING:
    from cai.train.run import Job


def prepare_training(method: str, settings: TrainSettings, base: Path) -> Job:
    """Everything checked that can be checked before any weights load. Raises `InputError`."""
    from cai.store.run import run_folder
    from cai.train.loading import open_base
    from cai.train.methods import METHODS as TABLE
    from cai.train.plan import make_plan
    from cai.train.prepare import prepare
    from cai.train.run import Job

    chosen = TABLE[method]
    run = run_folder(base, settings.run or ("critique" if chosen.kind == "sft" else "label"))
    opened = open_base(settings)
    prepared = prepare(chosen, settings, opened, run)
    plan = make_plan(chosen, settings, opened, prepared, int(os.environ.get("WORLD_SIZE", "1")))
    return Job(chosen, settings, opened, prepared, plan, run / method)


def train_job(job: Job, base: Path) -> None:
    """Hold the run while training; under `accelerate launch` the first process holds it for all."""
    from contextlib import nullcontext

    from cai.store.lock import holding
    from cai.train.run import train

    run = job.folder.parent
    run.mkdir(parents=True, exist_ok=True)
    with holding(run) if first_process() else nullcontext():
        final = train(job, show_step)
    if first_process():
        typer.echo(f"model: {final}")
        typer.echo(f"curves: {job.folder / 'curves.svg'}")


def first_process() -> bool:
    """Whether this process speaks for all of `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"
