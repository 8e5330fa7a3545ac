"""`cai critique`: draft, criticise and revise replies to a file of prompts under a constitution."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cai.cli.critique_job import Job, Outcome, announce, closing, open_parts, prepare, work
from cai.cli.table import table_lines
from cai.cli.terminal import duration, one_line, plain
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings

if TYPE_CHECKING:
    from cai.critique.estimate import Estimate
    from cai.critique.loop import Parts
    from cai.records import Revision

SHOWN = 2
"""Prompts that a dry run prints in full."""


def _of(model: type[CritiqueSettings | EngineSettings], field: str, *names: str, **options: Any) -> Any:
    """A flag whose help text is the setting's own."""
    setting = model.model_fields[field]
    default = "" if setting.default in (None, "", False) else f" [default: {setting.default}]"
    return typer.Option(*names, help=f"{setting.description}{default}", show_default=False, **options)


_C, _E = CritiqueSettings, EngineSettings


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE.yaml|section.key=value",
            help="A recipe with sections `critique` and `engine`, and settings that override it.",
            show_default=False,
        ),
    ] = None,
    constitution: Annotated[str | None, _of(_C, "constitution", "-c", "--constitution")] = None,
    prompts: Annotated[str | None, _of(_C, "prompts", "-p", "--prompts")] = None,
    model: Annotated[str | None, _of(_E, "model", "-m", "--model")] = None,
    run: Annotated[str | None, _of(_C, "run", "-r", "--run")] = None,
    engine: Annotated[str | None, _of(_E, "kind", "--engine")] = None,
    limit: Annotated[int | None, _of(_C, "limit", "--limit")] = None,
    seed: Annotated[int | None, _of(_C, "seed", "--seed")] = None,
    rounds: Annotated[int | None, _of(_C, "rounds", "--rounds")] = None,
    max_tokens: Annotated[int | None, _of(_C, "max_tokens", "--max-tokens")] = None,
    column: Annotated[str | None, _of(_C, "column", "--column")] = None,
    split: Annotated[str | None, _of(_C, "split", "--split")] = None,
    skip_bad_rows: Annotated[bool | None, _of(_C, "skip_bad_rows", "--skip-bad-rows/ ")] = None,
    draft_model: Annotated[str | None, _of(_C, "draft", "--draft-model")] = None,
    critic_model: Annotated[str | None, _of(_C, "critic", "--critic-model")] = None,
    reviser_model: Annotated[str | None, _of(_C, "reviser", "--reviser-model")] = None,
    max_error_rate: Annotated[float | None, _of(_C, "max_error_rate", "--max-error-rate")] = None,
    price_in: Annotated[float | None, _of(_C, "price_in", "--price-in")] = None,
    price_out: Annotated[float | None, _of(_C, "price_out", "--price-out")] = None,
    max_cost: Annotated[float | None, _of(_C, "max_cost", "--max-cost")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask a few prompts, show them, estimate the rest, store nothing.")
    ] = False,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Draft, criticise and revise replies under a constitution.

    Without arguments: the default constitution, 200 testbed prompts, the built-in tiny model. The same command again
    resumes. Any setting can be given as `critique.KEY=VALUE` or `engine.KEY=VALUE`, or in a recipe.
    """
    flags = {
        "constitution": constitution,
        "prompts": prompts,
        "run": run,
        "limit": limit,
        "seed": seed,
        "rounds": rounds,
        "max_tokens": max_tokens,
        "column": column,
        "split": split,
        "skip_bad_rows": skip_bad_rows,
        "max_error_rate": max_error_rate,
        "price_in": price_in,
        "price_out": price_out,
        "max_cost": max_cost,
    }
    recipe, overrides = split_words(words or [])
    settings = load_settings(CritiqueSettings, "critique", recipe, overrides, flags)
    kind = [f"engine.kind={engine}"] if engine is not None else []
    spec = load_settings(EngineSettings, "engine", recipe, [*overrides, *kind], {"model": model})
    settings = _with_models(settings, spec, draft=draft_model, critic=critic_model, reviser=reviser_model)
    job = prepare(settings, spec, base)
    if dry_run:
        _dry_run(job)
        return
    outcome = work(job)
    for line in summary(job, outcome):
        typer.echo(line)
    outcome.counts.check_errors()


def _with_models(settings: CritiqueSettings, spec: EngineSettings, **models: str | None) -> CritiqueSettings:
    """A part's model named by a flag runs on the part's own engine, or on the main one."""
    parts = {
        part: (getattr(settings, part) or spec).model_copy(update={"model": model})
        for part, model in models.items()
        if model is not None
    }
    return settings.model_copy(update=parts)


def summary(job: Job, outcome: Outcome) -> list[str]:
    """What a finished run says: outcomes, principles, tokens, where it lies."""
    from cai.critique.report import outcome_table, principle_table

    counts, report = outcome.counts, outcome.report
    cached = "" if counts.usage.cached_share is None else f" ({counts.usage.cached_share:.0%} cached)"
    cost = f", cost {job.price(counts.usage):.4g}" if job.settings.price_in or job.settings.price_out else ""
    return [
        *table_lines(outcome_table(report)),
        "",
        *(table_lines(principle_table(report)) if report.principles else ()),
        "",
        f"{report.changed:,} of {report.ok:,} replies changed; {counts.usage.calls:,} calls, "
        f"{counts.usage.prompt_tokens:,} prompt tokens{cached}, {counts.usage.completion_tokens:,} written{cost}",
        *(f"warning: {warning}" for warning in report.warnings()),
        f"written to {outcome.folder}: sft.parquet, dropped.parquet, README.md, about.json",
    ]


def _dry_run(job: Job) -> None:
    announce(job)
    parts = open_parts(job)
    found, whole = asyncio.run(closing(parts, _probe(job, parts)))
    for revision in found[:SHOWN]:
        _show(revision, job)
    for line in _estimate_lines(job, whole):
        typer.echo(line)


async def _probe(job: Job, parts: Parts) -> tuple[list[Revision], Estimate]:
    from cai.critique.estimate import estimate, probe

    found, failed, seconds = await probe(job.asked.prompts, job.settings.probe, parts, job.plan)
    return found, estimate(job.asked.prompts, found, failed, seconds, parts, job.plan)


def _show(revision: Revision, job: Job) -> None:
    from cai.critique.estimate import conversation

    for asked in conversation(revision, job.plan):
        typer.echo(f"=== {one_line(asked.what)} ({one_line(revision.prompt.source)})")
        for turn in asked.turns:
            typer.echo(f"[{turn.role}]\n{plain(turn.content)}")
        typer.echo(f"--- answer\n{plain(asked.answer)}\n")


def _estimate_lines(job: Job, whole: Estimate) -> list[str]:
    usage, priced = whole.usage, job.settings.price_in or job.settings.price_out
    basis = f"from {whole.probed} probed prompts" if whole.probed else "at most; nothing was probed"
    lines = [
        f"{whole.prompts:,} prompts, {usage.calls:,} calls ({basis}; never more than {whole.most_calls:,})",
        f"{usage.prompt_tokens:,} prompt tokens, {usage.cached_tokens:,} of them cached; "
        f"{usage.completion_tokens:,} tokens written",
    ]
    if whole.seconds is not None:
        lines.append(f"about {duration(whole.seconds)}, at the speed of the probe; larger batches are faster")
    lines.append(f"cost {job.price(usage):.4g}" if priced else "no price given: --price-in, --price-out")
    if whole.failed:
        lines.append(f"{whole.failed} probed prompts could not be answered and would be quarantined")
    if whole.too_long:
        lines.append(f"{whole.too_long:,} prompts do not fit in the model's context and would be quarantined")
    return [*lines, "nothing was stored"]
