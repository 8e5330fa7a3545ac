"""`cai redteam MODEL`: grow attack prompts that a model falls for, as prompts for the next critique run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cai.cli.flags import flag
from cai.config import load_settings
from cai.config.engine import EngineSettings
from cai.config.evaluate import RedteamSettings

_R, _E = RedteamSettings, EngineSettings


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_E.model_fields["model"].description or "")] = "tiny",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[engine.key=value]...", show_default=False)] = None,
    seeds: Annotated[str | None, flag(_R, "seeds", "-p", "--seeds")] = None,
    attacker: Annotated[str | None, flag(_R, "attacker", "--attacker")] = None,
    judge: Annotated[str | None, flag(_R, "judge", "--judge")] = None,
    run: Annotated[str | None, flag(_R, "run", "-r", "--run")] = None,
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    limit: Annotated[int | None, flag(_R, "limit", "--limit")] = None,
    rounds: Annotated[int | None, flag(_R, "rounds", "--rounds")] = None,
    width: Annotated[int | None, flag(_R, "width", "--width")] = None,
    seed: Annotated[int | None, flag(_R, "seed", "--seed")] = None,
    base: Annotated[Path, typer.Option("--in", help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Grow attack prompts from harmful seeds: rewrite, wrap, translate, extend; keep what succeeds by the judge.

    Writes redteam.jsonl, which `cai critique -p` takes, and prints success by category, the worst first.
    """
    from cai.cli.redteam_job import redteam

    flags = {
        "seeds": seeds, "attacker": attacker, "judge": judge, "run": run, "limit": limit, "rounds": rounds,
        "width": width, "seed": seed,
    }  # fmt: skip
    settings = load_settings(RedteamSettings, "evaluate", None, (), flags)
    kind = [f"engine.kind={engine}"] if engine is not None else []
    spec = load_settings(EngineSettings, "engine", None, [*(overrides or []), *kind], {"model": model})
    for line in redteam(settings, spec, base):
        typer.echo(line)
