"""`cai label`: sample replies, put pairs of them before judges, and write soft preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.cli.label_job import prepare
from cai.cli.label_people import align_with_people
from cai.cli.label_probe import probe
from cai.cli.label_work import Outcome, work
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.engine import EngineSettings
from cai.config.label import LabelSettings
from cai.errors import CaiError

_L, _E = LabelSettings, EngineSettings


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE.yaml] [section.key=value]...", show_default=False)
    ] = None,
    constitution: Annotated[str | None, flag(_L, "constitution", "-c", "--constitution")] = None,
    prompts: Annotated[str | None, flag(_L, "prompts", "-p", "--prompts")] = None,
    model: Annotated[str | None, flag(_E, "model", "-m", "--model")] = None,
    judge: Annotated[list[str] | None, flag(_L, "judges", "--judge")] = None,
    run: Annotated[str | None, flag(_L, "run", "-r", "--run")] = None,
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    limit: Annotated[int | None, flag(_L, "limit", "--limit")] = None,
    seed: Annotated[int | None, flag(_L, "seed", "--seed")] = None,
    samples: Annotated[int | None, flag(_L, "samples", "-k", "--samples")] = None,
    mode: Annotated[str | None, flag(_L, "mode", "--mode")] = None,
    principles: Annotated[str | None, flag(_L, "principles", "--principles")] = None,
    plan: Annotated[str | None, flag(_L, "plan", "--plan")] = None,
    replies: Annotated[str | None, flag(_L, "replies", "--replies")] = None,
    pairs: Annotated[str | None, flag(_L, "pairs", "--pairs")] = None,
    critique: Annotated[str | None, flag(_L, "critique", "--critique")] = None,
    human_fraction: Annotated[float | None, flag(_L, "human_fraction", "--human-fraction")] = None,
    column: Annotated[str | None, flag(_L, "column", "--column")] = None,
    split: Annotated[str | None, flag(_L, "split", "--split")] = None,
    skip_bad_rows: Annotated[bool | None, flag(_L, "skip_bad_rows", "--skip-bad-rows/ ")] = None,
    max_tokens: Annotated[int | None, flag(_L, "max_tokens", "--max-tokens")] = None,
    max_error_rate: Annotated[float | None, flag(_L, "max_error_rate", "--max-error-rate")] = None,
    price_in: Annotated[float | None, flag(_L, "price_in", "--price-in")] = None,
    price_out: Annotated[float | None, flag(_L, "price_out", "--price-out")] = None,
    max_cost: Annotated[float | None, flag(_L, "max_cost", "--max-cost")] = None,
    people: Annotated[
        Path | None,
        typer.Option("--people", help="Read people's answers (a filled-in people.csv or people.jsonl) and measure."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Label a few prompts, show one, estimate the rest, store nothing.")
    ] = False,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Sample replies and judge pairs of them under a constitution: soft preferences.

    Without arguments: the default constitution, 200 testbed prompts, two replies each, the built-in tiny model as
    policy and judge. The same command again resumes. Any setting can be given as `label.KEY=VALUE`.
    """
    flags = {
        "constitution": constitution,
        "prompts": prompts,
        "run": run,
        "limit": limit,
        "seed": seed,
        "samples": samples,
        "mode": mode,
        "principles": principles,
        "plan": plan,
        "replies": replies,
        "pairs": pairs,
        "critique": critique,
        "human_fraction": human_fraction,
        "column": column,
        "split": split,
        "skip_bad_rows": skip_bad_rows,
        "max_tokens": max_tokens,
        "max_error_rate": max_error_rate,
        "price_in": price_in,
        "price_out": price_out,
        "max_cost": max_cost,
    }
    recipe, overrides = split_words(words or [])
    settings = load_settings(LabelSettings, "label", recipe, overrides, flags)
    kind = [f"engine.kind={engine}"] if engine is not None else []
    spec = load_settings(EngineSettings, "engine", recipe, [*overrides, *kind], {"model": model})
    if judge:
        judges = tuple(spec.model_copy(update={"model": name}) for name in judge)
        settings = settings.model_copy(update={"judges": judges})
    if people is not None:
        _print(align_with_people(settings, people, base))
        return
    job = prepare(settings, spec, base)
    if dry_run:
        _print(probe(job))
        return
    outcome = work(job)
    _print(outcome.lines)
    _check(outcome, settings)


def _check(outcome: Outcome, settings: LabelSettings) -> None:
    """Exit code 1 where too much was quarantined or unread, once everything is written."""
    for counts in outcome.counts:
        counts.check_errors()
    unread = outcome.diagnostics.unread.value
    if unread is not None and unread > settings.max_unread:
        raise CaiError(
            f"{unread:.1%} of the judge's answers could not be read, more than label.max_unread "
            f"{settings.max_unread:.1%} allows; their texts are in the votes"
        )


def _print(lines: list[str]) -> None:
    from cai.cli.terminal import plain

    for line in lines:
        typer.echo(plain(line))
