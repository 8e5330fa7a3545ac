"""`cai compare`: does one constitution really do better than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.config import load_settings
from cai.config.compare import CompareSettings
from cai.config.engine import EngineSettings

_C, _E = CompareSettings, EngineSettings


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="Constitutions (files or shipped names) or finished runs (runs/NAME), and settings section.key=value.",
            show_default=False,
        ),
    ],
    prompts: Annotated[str | None, flag(_C, "prompts", "-p", "--prompts")] = None,
    model: Annotated[str | None, flag(_E, "model", "-m", "--model")] = None,
    judge: Annotated[list[str] | None, flag(_C, "judges", "--judge")] = None,
    run: Annotated[str | None, flag(_C, "run", "-r", "--run")] = None,
    depth: Annotated[str | None, flag(_C, "depth", "--depth")] = None,
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    limit: Annotated[int | None, flag(_C, "limit", "--limit")] = None,
    judged: Annotated[int | None, flag(_C, "judged", "--judged")] = None,
    panel: Annotated[str | None, flag(_C, "panel", "--panel")] = None,
    seed: Annotated[int | None, flag(_C, "seed", "--seed")] = None,
    placebo: Annotated[bool | None, flag(_C, "placebo", "--placebo/ ")] = None,
    leave_one_out: Annotated[bool | None, flag(_C, "leave_one_out", "--leave-one-out/ ")] = None,
    suite: Annotated[list[str] | None, flag(_C, "suites", "--suite")] = None,
    no_judge: Annotated[bool, typer.Option("--no-judge", help="Do not judge: counts and classifiers only.")] = False,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe with sections `compare`, `critique`, `train`, `engine`.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="CAI_DATA", help="Folder of public data, for suites."),
    ] = None,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Compare constitutions, or runs that are there already, on the same prompts, seeds and engine.

    Writes report.html, report.md and report.json into runs/NAME. Two finished runs are compared without a model.
    """
    from cai.cli.compare_given import Given
    from cai.cli.compare_job import compare

    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    flags = {
        "prompts": prompts, "run": run, "depth": depth, "limit": limit, "judged": judged, "panel": panel, "seed": seed,
        "placebo": placebo, "leave_one_out": leave_one_out, "suites": suite or None,
        "judge": False if no_judge else None,
    }  # fmt: skip
    settings = load_settings(CompareSettings, "compare", recipe, overrides, flags)
    kind = [f"engine.kind={engine}"] if engine is not None else []
    spec = load_settings(EngineSettings, "engine", recipe, [*overrides, *kind], {"model": model})
    if judge:
        judges = tuple(spec.model_copy(update={"model": name}) for name in judge)
        settings = settings.model_copy(update={"judges": judges})
    for line in compare(Given(tuple(names), settings, spec, recipe, tuple(overrides), base, data)):
        typer.echo(line)
