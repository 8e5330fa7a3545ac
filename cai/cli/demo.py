"""`cai demo`: the whole loop on testbed prompts with the tiny model, and what the oracle says of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cai.cli.critique_job import prepare, work
from cai.cli.marks import marked_changes
from cai.cli.table import table_lines
from cai.cli.terminal import duration, one_line, plain
from cai.config import load_settings
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings

if TYPE_CHECKING:
    from cai.records import Revision

SHOWN = 3


def command(
    limit: Annotated[int, typer.Option(min=1, help="Prompts to ask.")] = 200,
    run: Annotated[str, typer.Option("-r", "--run", help="Name of the run's folder in runs/.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Draft, criticise and revise testbed prompts with the built-in tiny model under the default constitution.

    The testbed's oracle knows the truth about every reply, so the table shows what the loop really changed. The same
    command again resumes, or shows a finished demo once more.
    """
    from cai.critique.report import outcome_table, principle_table
    from cai.critique.stage import STAGE
    from cai.critique.truth import measure
    from cai.records import Revision
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    settings = load_settings(CritiqueSettings, "critique", None, (), {"run": run, "limit": limit, "seed": seed})
    job = prepare(settings, load_settings(EngineSettings, "engine", None, (), {}), base)
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
    say(f"written to {outcome.folder}: sft.parquet, dropped.parquet, README.md, about.json")
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
