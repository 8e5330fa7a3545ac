"""`cai demo`: the whole pipeline on the testbed with the tiny model, and what the oracle says of each policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cai.cli.critique_job import prepare, work
from cai.cli.marks import marked_changes
from cai.cli.table import table_lines
from cai.cli.terminal import duration, one_line, plain
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.config.run import RunSettings, Stage
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.records import Revision

SHOWN = 3
STAGES: tuple[Stage, ...] = ("critique", "sft", "label", "reward", "grpo", "evaluate")
SIZES = (
    "critique.split=train",
    "sft.epochs=6",
    "sft.learning_rate=5e-4",
    "sft.keep_best=false",  # twenty held-out rows know names, not refusals: the best by them has learned nothing
    "sft.micro_batch=16",
    "label.split=train",
    "label.samples=3",
    "label.principles=all",
    "label.max_tokens=96",
    "reward.epochs=2",
    "reward.micro_batch=16",
    "grpo.limit=600",
    "grpo.steps=16",
    "grpo.save_every=4",
    "grpo.rollout.prompts_per_step=24",
    "grpo.rollout.max_tokens=96",
    "grpo.update.learning_rate=3e-4",
    "grpo.update.minibatches=2",
    "grpo.update.micro_prompts=24",
    "grpo.watch.every=8",
    "grpo.watch.prompts=48",
)
"""Meant for six minutes on two quiet cores, and for a table that shows what each stage does."""


def command(
    words: Annotated[list[str] | None, typer.Argument(metavar="[section.key=value]...", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Prompts to ask in each stage.")] = 200,
    loop_only: Annotated[bool, typer.Option("--loop-only", help="Only draft, criticise and revise.")] = False,
    run: Annotated[str, typer.Option("-r", "--run", help="Name of the run's folder in runs/.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Run the whole pipeline with the built-in tiny model under the default constitution.

    Critique and revision, supervised training, labels, a reward model, reinforcement, and one table of all policies.
    The testbed's oracle knows the truth about every reply, so the tables show what each stage really changed. The same
    command again goes on where it stopped, or shows a finished demo once more.
    """
    from cai.cli.pipeline import steps
    from cai.cli.pipeline_recipe import Pipeline
    from cai.cli.pipeline_steps import run_steps
    from cai.store.run import run_folder

    stages = STAGES[:1] if loop_only else STAGES
    pipeline = Pipeline(_settings(stages, run, limit, seed), None, (*_sizes(limit), *_given(words)), base)
    run_folder(base, run)
    first, *rest = steps(pipeline)
    assert isinstance(first.settings, CritiqueSettings)
    shown = replace(first, go=partial(_loop, first.settings, pipeline.engine_for("tiny"), base), always=True)
    run_steps(pipeline.folder, [shown, *rest])
    typer.echo(f"\nwritten to {pipeline.folder}" + (", a folder for each stage; table.txt" if rest else ""))


def _settings(stages: Sequence[Stage], run: str, limit: int, seed: int) -> RunSettings:
    return RunSettings(run=run, stages=list(stages), seed=seed, eval_limit=limit)


def _sizes(limit: int) -> tuple[str, ...]:
    return (*SIZES, f"critique.limit={limit}", f"label.limit={limit}")


def _given(words: Sequence[str] | None) -> tuple[str, ...]:
    """Overrides from the command line. Raises InputError for anything else."""
    for word in words or ():
        if "=" not in word:
            remedy = "the demo has its own recipe: give section.key=value, or use `cai run RECIPE`"
            raise InputError("this is not an override", remedy, Where(word))
    return tuple(words or ())


def _loop(settings: CritiqueSettings, engine: EngineSettings, base: Path) -> None:
    """Draft, criticise, revise; then say what that changed, with three transcripts."""
    from cai.critique.report import outcome_table, principle_table
    from cai.critique.stage import STAGE
    from cai.critique.truth import measure
    from cai.records import Revision
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    job = prepare(settings, engine, base)
    outcome = work(job)
    journal = Reader(outcome.folder / JOURNAL)
    revisions = [row.body for row in journal.rows(STAGE, Revision) if row.body is not None]
    loop = f"{job.plan.rounds} rounds under the constitution `{job.plan.constitution.name}`"
    say = typer.echo
    say(f"\n{len(revisions)} testbed prompts, {loop}, in {duration(journal.totals(STAGE).seconds)}\n")
    for table in (measure(revisions).table(), principle_table(outcome.report), outcome_table(outcome.report)):
        say("\n".join(table_lines(table)) + "\n")
    for revision in _worth_showing(revisions):
        say("\n".join(_transcript(revision)) + "\n")
    say(f"loop written to {outcome.folder}: sft.parquet, dropped.parquet, README.md, about.json")
    outcome.counts.check_errors()


def _worth_showing(revisions: list[Revision]) -> list[Revision]:
    """Three changed replies: mended ones first, of different kinds of request where there are."""
    from cai.critique.truth import mended

    changed = [revision for revision in revisions if revision.final != revision.draft and not revision.flags]
    ranked = sorted(changed, key=lambda revision: not mended(revision))
    by_kind = {revision.prompt.category: revision for revision in reversed(ranked)}
    first = sorted(by_kind.values(), key=ranked.index)
    return list(islice(first, SHOWN)) if len(first) >= SHOWN else ranked[:SHOWN]


def _transcript(revision: Revision) -> list[str]:
    """Prompt, draft, each step that changed the reply, with its changes marked."""
    lines = [typer.style(f"{m.role}: {plain(m.content)}", bold=True) for m in revision.prompt.messages]
    lines.append(f"draft: {plain(revision.draft)}")
    reply = revision.draft
    for step in revision.steps:
        if step.changed and step.revision:
            lines.append(f"  {one_line(step.principle)}: {one_line(step.critique, 160)}")
            lines.append(f"  revision {step.round + 1}: {marked_changes(reply, step.revision)}")
            reply = step.revision
    return lines
