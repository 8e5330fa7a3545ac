"""`cai train METHOD`: a policy or a reward model from what the other commands wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cai.cli.flags import flag
from cai.cli.rl import train_rl
from cai.cli.terminal import plain
from cai.cli.train_job import first_process, prepare_training, train_job
from cai.cli.words import split_words
from cai.config import load_settings
from cai.config.methods import METHODS, REINFORCEMENT
from cai.config.rl import RLSettings, Watch
from cai.config.train import TrainSettings
from cai.errors import InputError, Where
from cai.strict_yaml import did_you_mean

if TYPE_CHECKING:
    from cai.train.run import Job

ITERATE = "iterate"
"""Rounds of labels, reward model and policy."""


def _of(field: str, *names: str) -> Any:
    """A flag whose help text is the setting's own."""
    return typer.Option(*names, help=TrainSettings.model_fields[field].description, show_default=False)


def command(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help=", ".join((*METHODS, ITERATE)), show_default=False),
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE.yaml] [key=value]...", show_default=False)
    ] = None,
    run: Annotated[str | None, _of("run", "-r", "--run")] = None,
    model: Annotated[str | None, _of("model", "-m", "--model")] = None,
    data: Annotated[list[str] | None, _of("data", "-d", "--data")] = None,
    seed: Annotated[int | None, _of("seed", "--seed")] = None,
    constitution: Annotated[str | None, flag(RLSettings, "constitution", "-c", "--constitution")] = None,
    prompts: Annotated[str | None, flag(RLSettings, "prompts", "-p", "--prompts")] = None,
    reward: Annotated[list[str] | None, flag(RLSettings, "rewards", "--reward")] = None,
    stop_on: Annotated[str | None, flag(Watch, "stop_on", "--stop-on")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the data, print the plan, train nothing.")] = False,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Train a policy or a reward model; the same command again resumes at the last checkpoint.

    `cai train sft` learns from `runs/critique/sft.parquet`, the other methods from `runs/label/pairs.parquet`; the
    result is `runs/NAME/METHOD/model`. Any setting can be given as KEY=VALUE or in the `train:` section of a recipe.
    The reinforcement methods (ppo, grpo, rloo, spo, online-dpo) take prompts and a reward instead of data, and the
    section `rl:`. `iterate` alternates labels and learning from them in rounds (sections `iterate:`, `label:`, that of
    its method and, for reinforcement, `reward:`).
    """
    methods = (*METHODS, ITERATE)
    if method not in methods:
        remedy = did_you_mean(method, methods) or f"the methods are {', '.join(methods)}"
        raise InputError(f"there is no method {method!r}", remedy)
    recipe, overrides = split_words(words or [])
    only_rl = {"constitution": constitution, "prompts": prompts, "rewards": reward or None}
    if method in REINFORCEMENT:
        if data:
            raise InputError(f"{method} draws its own replies", "give --prompts and --reward instead", Where("--data"))
        flags = {"run": run, "model": model, "seed": seed, **only_rl}
        given = [_with_section(o, "rl") for o in overrides]
        train_rl(method, recipe, given, flags, stop_on=stop_on, dry_run=dry_run, base=base)
        return
    if method == ITERATE:
        _iterate(recipe, overrides, {"run": run, "model": model, "seed": seed, **only_rl}, data, stop_on, dry_run, base)
        return
    for name, value in {**only_rl, "stop-on": stop_on}.items():
        if value is not None:
            raise InputError(f"{method} learns from data", "give --data instead", Where(f"--{name}"))
    overrides = [_with_section(o, "train") for o in overrides]
    flags = {"run": run, "model": model, "data": data or None, "seed": seed}
    settings = load_settings(TrainSettings, "train", recipe, overrides, flags)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    job = prepare_training(method, settings, base)
    if first_process():
        for line in _plan(job):
            typer.echo(plain(line))
    if not dry_run:
        train_job(job, base)


def _iterate(
    recipe: Path | None, overrides: list[str], flags: dict[str, object], data: object, stop_on: object,
    dry_run: bool, base: Path,
) -> None:  # fmt: skip
    from cai.cli.rounds import in_section, train_iterate

    for name, value in {"data": data, "reward": flags.pop("rewards"), "stop-on": stop_on}.items():
        if value:
            remedy = "the rounds make their own; settings of a part stand in the section of its name"
            raise InputError(f"{ITERATE} takes no --{name}", remedy, Where(f"--{name}"))
    train_iterate(recipe, [in_section(o) for o in overrides], flags, dry_run=dry_run, base=base)


def _with_section(override: str, section: str) -> str:
    """`beta=0.2` is `train.beta=0.2`."""
    return override if override.partition("=")[0].startswith(f"{section}.") else f"{section}.{override}"


def _plan(job: Job) -> list[str]:
    from cai.train.plan import plan_lines

    return plan_lines(job.method, job.settings, job.base, job.prepared, job.plan)
