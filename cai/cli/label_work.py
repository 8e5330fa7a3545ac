"""A checked label job to a run's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cai.cli.label_job import Job, announce, closing, open_engines, tasks_of
from cai.cli.label_outputs import write_outputs
from cai.cli.prompts import Asked
from cai.cli.terminal import progress_bar
from cai.config.engine import EngineSettings

if TYPE_CHECKING:
    from cai.engine.protocol import Engine
    from cai.judge.diagnostics import Diagnostics
    from cai.judge.panel import Judge
    from cai.judge.stage import Work
    from cai.store import Counts


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished command: what to say, and what decides the exit code."""

    lines: list[str]
    counts: tuple[Counts, ...]
    diagnostics: Diagnostics


def work(job: Job) -> Outcome:
    """Run what is still to do and write every output. Raises as `run_stage` does, and `BudgetSpent` after writing."""
    _check_runs(job)
    announce(job)
    policy, judges = open_engines(job)
    return asyncio.run(closing(policy, judges, work_with(job, policy, judges)))


def _check_runs(job: Job) -> None:
    """Refuse a run that is held or was made otherwise, before a model loads."""
    from cai.judge.stage import LABEL, SAMPLES, label_plan, samples_plan
    from cai.store import check_run

    settings = job.settings
    if job.asked:
        known = samples_plan(K=settings.samples, like=job.like, run_seed=settings.seed)
        check_run(job.base, settings.run, stage=SAMPLES, known=known)
    known = label_plan(job.asking, job.combining, canaries=settings.canaries, source=_fingerprint(job))
    check_run(job.base, settings.run, stage=LABEL, known=known)


def _fingerprint(job: Job) -> str:
    """Of the replies' source, as it stands in the label stage's identity."""
    from cai.judge.stage import SAMPLES

    if job.source:
        found = job.source.fingerprint
    else:
        found = f"{SAMPLES}, truncated too" if job.settings.keep_truncated else SAMPLES
    return f"{found}, best and worst by {job.choice.fingerprint}" if job.choice else found


async def work_with(job: Job, policy: Engine | None, judges: list[Judge]) -> Outcome:
    """The same in a running event loop, with engines that are open already and stay so."""
    sampled = [] if job.asked is None or policy is None else [await _sample(job, job.asked, policy)]
    labelled, lines, found = await _label(job, judges)
    return Outcome(lines, (*sampled, labelled), found)


async def _sample(job: Job, asked: Asked, policy: Engine) -> Counts:
    """The stage `samples`."""
    from cai.judge.stage import SAMPLES, draw_samples, samples_identity
    from cai.store import open_run

    settings = job.settings
    how = {"K": settings.samples, "like": job.like, "run_seed": settings.seed}
    made_with = samples_identity(policy, **how)
    with (
        open_run(job.base, settings.run, stage=SAMPLES, identity=made_with) as run,
        _work(job, SAMPLES, asked.count, [job.policy]) as driving,
    ):
        return await draw_samples(run, asked.prompts, policy, driving, **how)


async def _label(job: Job, judges: list[Judge]) -> tuple[Counts, list[str], Diagnostics]:
    """The stage `label` and everything that is written from it."""
    from cai.judge.stage import LABEL, SAMPLES, label_identity, label_tasks, sampled
    from cai.store import BudgetSpent, open_run

    source, canaries = job.source, job.settings.canaries
    keep = job.settings.keep_truncated
    identity = label_identity(judges, job.asking, job.combining, canaries=canaries, source=_fingerprint(job))
    with open_run(job.base, job.settings.run, stage=LABEL, identity=identity) as run:
        todo = tasks_of(job, source.open() if source else sampled(run, keep_truncated=keep))
        total = source.count if source else run.states(SAMPLES)["ok"]
        try:
            with _work(job, LABEL, total, list(job.judges.values())) as driving:
                counts = await label_tasks(run, todo, judges, job.asking, job.combining, driving, identity=identity)
        except BudgetSpent:
            write_outputs(run, job)
            raise
        return (counts, *write_outputs(run, job))


@contextmanager
def _work(job: Job, what: str, total: int | None, specs: list[EngineSettings]) -> Generator[Work]:
    """How a stage is driven, with its progress bar: twice the largest batch at a time keeps the engine busy."""
    from cai.judge.stage import Work
    from cai.store import Budget

    settings = job.settings
    budget = None if settings.max_cost is None else Budget(settings.max_cost, job.price)
    concurrency = max(spec.in_flight for spec in specs)
    with progress_bar(f"{what} {settings.run}") as progress:
        yield Work(concurrency, settings.attempts, settings.max_error_rate, budget, progress, total)
