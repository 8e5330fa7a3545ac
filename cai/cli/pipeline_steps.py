"""Steps of a pipeline: each a finished command by itself, run one after the other, skipped where it was done before."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from cai.cli.terminal import duration, titled
from cai.config import load_settings
from cai.config.base import Settings
from cai.config.engine import EngineSettings
from cai.errors import CaiError

DONE = "pipeline.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its settings, how to run it, and whether it runs even where it was done (to show a table again)."""

    name: str
    settings: Settings
    go: Callable[[], None]
    always: bool = False
    reads: str = ""
    """A hash of what it reads that its settings only name: a constitution, prompts, weights."""


class StepFailed(CaiError):
    """A step ended the pipeline; what is done is kept."""

    def __init__(self, name: str, cause: CaiError) -> None:
        stopped = cause.exit_code == 130
        how = "the same command goes on" if stopped else "mend it and give the same command again"
        super().__init__(f"stage {name}: {cause}\nwhat is done is kept; {how}")
        self.exit_code = cause.exit_code


def run_steps(folder: Path, steps: Sequence[Step]) -> None:
    """Run what is not done yet; a step is done if it and all before it had these settings and read the same.

    Raises StepFailed. Whatever else a step raises is told with the step's name.
    """
    from cai.seeds import content_id
    from cai.store.files import dump_json, read_json, write_text

    chain, began = "", time.perf_counter()
    for number, step in enumerate(steps, start=1):
        chain = content_id(chain, step.name, step.settings.model_dump(mode="json"), step.reads)
        title = f"[{number}/{len(steps)}] {step.name}"
        if read_json(folder / DONE).get(step.name) == chain and not step.always:
            typer.echo(f"{title}: done before", err=True)
            continue
        typer.echo(title, err=True)
        started = time.perf_counter()
        try:
            with titled(f"[{number}/{len(steps)}] "):
                step.go()
        except CaiError as cause:
            raise StepFailed(step.name, cause) from cause
        except Exception as error:
            error.add_note(f"stage {step.name} failed; what is done is kept, and the same command goes on from there")
            raise
        now = time.perf_counter()
        typer.echo(f"{title}: {duration(now - started)}, {duration(now - began)} in all", err=True)
        write_text(folder / DONE, dump_json({**read_json(folder / DONE), step.name: chain}))


def read_by(settings: Settings, engine: EngineSettings) -> str:
    """What a step reads that its settings only name, in one hash: constitution, prompts, the weights at the start."""
    from cai.cli.engines import model_folder
    from cai.constitution import load_constitution
    from cai.engine.files import find_model
    from cai.seeds import content_id

    elsewhere = engine.kind in ("openai", "ray")
    read = [engine.model if elsewhere else find_model(model_folder(engine.model), engine.revision).fingerprint]
    if constitution := getattr(settings, "constitution", ""):
        read.append(load_constitution(constitution).sha)
    for name in ("prompts", "eval_prompts", "watch_prompts"):
        file = Path(getattr(settings, name, "") or "testbed")
        read.append(hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else str(file))
    return content_id(*read)


def section_of(
    model: type[Any], name: str, recipe: Path | None, overrides: Sequence[str], inherited: dict[str, object]
) -> Any:
    """A step's own section; what is said there beats what it inherits from the pipeline."""
    own = load_settings(model, name, recipe, overrides, {})
    given = {key: value for key, value in inherited.items() if key not in own.model_fields_set}
    return load_settings(model, name, recipe, overrides, given)
