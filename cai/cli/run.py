"""`cai run RECIPE`: critique, supervised training, labels, reward model, policy, and one table, in one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.cli.terminal import plain
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.run import RunSettings


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE.yaml] [section.key=value]...", show_default=False)
    ] = None,
    run: Annotated[str | None, flag(RunSettings, "run", "-r", "--run")] = None,
    model: Annotated[str | None, flag(RunSettings, "model", "-m", "--model")] = None,
    constitution: Annotated[str | None, flag(RunSettings, "constitution", "-c", "--constitution")] = None,
    seed: Annotated[int | None, flag(RunSettings, "seed", "--seed")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every stage's settings, print them, run none.")
    ] = False,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Run a whole pipeline from one file. The same command again goes on where it stopped and skips what is done.

    Stages and their order stand in the recipe's `run:` section, each stage's own settings in the section of its name.
    """
    from cai.cli.pipeline import steps
    from cai.cli.pipeline_recipe import Pipeline
    from cai.cli.pipeline_steps import run_steps
    from cai.store.run import run_folder

    recipe, overrides = split_words(words or [])
    flags = {"run": run, "model": model, "constitution": constitution, "seed": seed}
    settings = load_settings(RunSettings, "run", recipe, overrides, flags)
    run_folder(base, settings.run)
    pipeline = Pipeline(settings, recipe, tuple(overrides), base)
    checked = pipeline.check()
    if dry_run:
        for name, section in checked:
            changed = section.model_dump(exclude_defaults=True, mode="json")
            typer.echo(plain(f"{name}: {changed}"))
        return
    run_steps(pipeline.folder, steps(pipeline))
    typer.echo(f"written to {pipeline.folder}")
