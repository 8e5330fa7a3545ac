"""`cai run RECIPE`: critique, supervised training, labels, reward model, policy, and one table, in one run folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.cli.terminal import duration, plain
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.run import RunSettings
from cai.errors import CaiError

DONE = "pipeline.json"


class StageFailed(CaiError):
    """A stage ended the pipeline; what is done is kept."""

    def __init__(self, name: str, cause: CaiError) -> None:
        super().__init__(f"stage {name}: {cause}\nwhat is done is kept; mend it and give the same command again")
        self.exit_code = cause.exit_code


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
    from cai.cli.pipeline import Pipeline
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
    _go(pipeline)


def _go(pipeline: object) -> None:
    from cai.cli.pipeline import Pipeline
    from cai.seeds import content_id
    from cai.store.files import dump_json, read_json, write_text

    assert isinstance(pipeline, Pipeline)
    stages, chain = pipeline.settings.stages, ""
    for number, name in enumerate(stages, start=1):
        step = pipeline.step(name)
        chain = content_id(chain, name, step.settings.model_dump(mode="json"))
        done = read_json(pipeline.folder / DONE)
        title = f"[{number}/{len(stages)}] {name}"
        if done.get(name) == chain and name != "evaluate":
            typer.echo(f"{title}: done before", err=True)
            continue
        typer.echo(title, err=True)
        began = time.perf_counter()
        try:
            step.go()
        except CaiError as cause:
            raise StageFailed(name, cause) from cause
        typer.echo(f"{title}: {duration(time.perf_counter() - began)}", err=True)
        write_text(pipeline.folder / DONE, dump_json({**read_json(pipeline.folder / DONE), name: chain}))
    typer.echo(f"written to {pipeline.folder}")
