"""`cai evaluate MODEL`: suites of prompts with known readings, bare or under attack, for one model or two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.config import load_settings
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings

_V, _E = EvaluateSettings, EngineSettings


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_E.model_fields["model"].description or "")] = "tiny",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[section.key=value]...", show_default=False)] = None,
    suite: Annotated[list[str] | None, flag(_V, "suites", "-s", "--suite")] = None,
    attack: Annotated[list[str] | None, flag(_V, "attacks", "--attack")] = None,
    beside: Annotated[str | None, flag(_V, "beside", "--beside")] = None,
    judge: Annotated[str | None, flag(_V, "judge", "--judge")] = None,
    data: Annotated[str | None, flag(_V, "data", "--data", envvar="CAI_DATA")] = None,
    run: Annotated[str | None, flag(_V, "run", "-r", "--run")] = None,
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    limit: Annotated[int | None, flag(_V, "limit", "--limit")] = None,
    seed: Annotated[int | None, flag(_V, "seed", "--seed")] = None,
    max_tokens: Annotated[int | None, flag(_V, "max_tokens", "--max-tokens")] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe with sections `evaluate` and `engine`.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the suites and attacks, and ask nothing.")] = False,
    lm_eval: Annotated[
        str, typer.Option("--lm-eval", help="Tasks of lm-evaluation-harness, by commas, instead of our suites.")
    ] = "",
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Measure a model on suites; every figure with its 95 % interval, n, and what could not be read.

    Without arguments: the built-in tiny model on the testbed. The same command again resumes.
    """
    from cai.cli import evaluate_job

    if listing:
        lines = evaluate_job.listing()
    else:
        flags = {
            "suites": suite or None, "attacks": attack or None, "beside": beside, "judge": judge, "data": data,
            "run": run, "limit": limit, "seed": seed, "max_tokens": max_tokens,
        }  # fmt: skip
        words = overrides or []
        settings = load_settings(EvaluateSettings, "evaluate", recipe, words, flags)
        kind = [f"engine.kind={engine}"] if engine is not None else []
        spec = load_settings(EngineSettings, "engine", recipe, [*words, *kind], {"model": model})
        if lm_eval:
            from cai.cli.evaluate_harness import harness

            lines = harness(settings, spec, lm_eval, base)
        else:
            lines = evaluate_job.evaluate(settings, spec, base)
    for line in lines:
        typer.echo(line)
