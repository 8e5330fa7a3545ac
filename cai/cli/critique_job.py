"""`cai critique` without its flags: settings to a checked job, a job to a run's folder. `cai demo` uses it too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from cai.cli.about import surroundings
from cai.cli.prompts import Asked, open_prompts
from cai.cli.terminal import one_line, progress_bar
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.constitution import load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.critique.loop import Parts, Plan
    from cai.critique.report import Report
    from cai.records import Usage
    from cai.store import Budget, Counts, Run

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """Everything checked that can be checked before a model loads."""

    settings: CritiqueSettings
    engines: dict[str, EngineSettings]
    """By part: draft, critic, reviser."""
    plan: Plan
    asked: Asked
    base: Path
    """Folder that holds the runs."""

    @property
    def concurrency(self) -> int:
        """Chains at a time: twice the largest batch, so that the engine never waits for a chain."""
        return max(spec.in_flight for spec in self.engines.values())

    def price(self, usage: Usage) -> float:
        """Money for so many tokens."""
        return (usage.prompt_tokens * self.settings.price_in + usage.completion_tokens * self.settings.price_out) / 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished stage: its folder, its counts, its report."""

    folder: Path
    counts: Counts
    report: Report


def prepare(settings: CritiqueSettings, spec: EngineSettings, base: Path) -> Job:
    """Check the settings, the constitution, every prompt and every model's files. Raises `InputError`."""
    from cai.cli.engines import check_engine
    from cai.critique.loop import Plan
    from cai.store.run import run_folder

    if settings.max_cost is not None and not (settings.price_in or settings.price_out):
        raise InputError("a cost needs a price", "give --price-in and --price-out", Where("--max-cost"))
    run_folder(base, settings.run)
    constitution = load_constitution(settings.constitution)
    loop = constitution.loop
    plan = Plan(
        constitution,
        settings.seed,
        loop.rounds if settings.rounds is None else settings.rounds,
        loop.final_check if settings.final_check is None else settings.final_check,
        settings.temperature,
        settings.top_p,
        settings.max_tokens,
    )
    asked = open_prompts(
        settings.prompts,
        column=settings.column,
        split=settings.split,
        limit=settings.limit,
        seed=settings.seed,
        skip_bad_rows=settings.skip_bad_rows,
    )
    critic = settings.critic or spec
    engines = {"draft": settings.draft or spec, "critic": critic, "reviser": settings.reviser or critic}
    for engine in engines.values():
        check_engine(engine)
    return Job(settings, engines, plan, asked, base)


def announce(job: Job) -> None:
    """Say what was found in the input, and which principles the tiny model cannot know."""
    for note in job.asked.notes:
        typer.echo(note, err=True)
    if job.engines["critic"].model != "tiny":
        return
    from cai.testbed.world import meaning_of

    for principle in job.plan.constitution.principles:
        if principle.critique and meaning_of(principle.critique) is None:
            name = one_line(principle.id)
            typer.echo(f"warning: the tiny model does not know what {name} asks; expect noise under it", err=True)


def open_parts(job: Job) -> Parts:
    """Open each different engine once."""
    from cai.cli.engines import open_engines
    from cai.critique.loop import Parts

    opened = open_engines(job.engines.values())
    return Parts(**{part: opened[spec.model_dump_json()] for part, spec in job.engines.items()})


async def closing(parts: Parts, working: Awaitable[T]) -> T:
    """Await `working`, then close the engines in the same event loop, which holds their connections."""
    try:
        return await working
    finally:
        for engine in {id(engine): engine for engine in (parts.draft, parts.critic, parts.reviser)}.values():
            await engine.close()


def work(job: Job) -> Outcome:
    """Run what is still to do and write every output. Raises as `run_stage` does, and `BudgetSpent` after writing."""
    from cai.critique.stage import STAGE, plan_identity
    from cai.store import check_run

    check_run(job.base, job.settings.run, stage=STAGE, known=plan_identity(job.plan))
    announce(job)
    parts = open_parts(job)
    return asyncio.run(closing(parts, work_with(job, parts)))


async def work_with(job: Job, parts: Parts) -> Outcome:
    """The same in a running event loop, with engines that are open already and stay so."""
    from cai.critique.stage import STAGE, criticise, identity
    from cai.store import BudgetSpent, open_run

    with open_run(job.base, job.settings.run, stage=STAGE, identity=identity(parts, job.plan)) as run:
        with progress_bar(f"critique {job.settings.run}") as progress:
            try:
                counts = await criticise(
                    run,
                    job.asked.prompts,
                    parts,
                    job.plan,
                    concurrency=job.concurrency,
                    attempts=job.settings.attempts,
                    max_error_rate=job.settings.max_error_rate,
                    budget=_budget(job),
                    progress=progress,
                    total=job.asked.count,
                )
            except BudgetSpent:
                write_outputs(run, job, parts)
                raise
        return Outcome(run.folder, counts, write_outputs(run, job, parts))


def write_outputs(run: Run, job: Job, parts: Parts) -> Report:
    """Datasets, card and about.json from what is stored."""
    from cai.critique.card import dataset_card
    from cai.critique.export import write_datasets
    from cai.critique.report import report_on
    from cai.critique.stage import STAGE
    from cai.records import Revision

    constitution = job.plan.constitution
    write_datasets(run, job.asked.prompts, constitution.name, job.settings.replies)
    report = report_on(run.rows(STAGE, Revision))
    run.write_text("README.md", dataset_card(run.name, job.asked.source, parts, job.plan, report))
    totals = run.totals(STAGE)
    facts = {
        "constitution": {"name": constitution.name, "sha": constitution.sha},
        "settings": job.settings.model_dump(mode="json"),
        "engines": {part: spec.model_dump(mode="json") for part, spec in job.engines.items()},
        "fingerprints": {"draft": parts.draft.fingerprint, "critic": parts.critic.fingerprint,
                         "reviser": parts.reviser.fingerprint, "prompts": job.asked.fingerprint},
        "prompts": {"source": job.asked.source, "count": job.asked.count, "notes": list(job.asked.notes)},
        "counts": {**totals.states, "changed": report.changed, "kept": report.kept, "dropped": dict(report.dropped)},
        "usage": totals.usage.model_dump(),
        "cached_share": totals.usage.cached_share,
        "seconds": round(totals.seconds, 3),
        "cost": job.price(totals.usage),
    }  # fmt: skip
    run.write_about({STAGE: facts, **surroundings()})
    return report


def _budget(job: Job) -> Budget | None:
    from cai.store import Budget

    limit = job.settings.max_cost
    return None if limit is None else Budget(limit, job.price)
