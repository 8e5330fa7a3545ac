"""`cai doctor`: can this model criticise and judge at all? Two minutes of questions whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cai.cli.flags import flag
from cai.cli.terminal import one_line, plain
from cai.config import load_settings
from cai.config.engine import EngineSettings

if TYPE_CHECKING:
    from cai.cli.doctor_measures import Finding

_E = EngineSettings
DATA = typer.Option(
    "--data", envvar="CAI_DATA", help="Folder of public data: hh-rlhf/*.jsonl(.gz) and hhh/*.jsonl are used if there."
)


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_E.model_fields["model"].description or "")] = "tiny",
    constitution: Annotated[
        str, typer.Option("-c", "--constitution", help="Constitution whose principles are asked.")
    ] = "default",
    engine: Annotated[str | None, flag(_E, "kind", "--engine")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[engine.key=value]...", show_default=False)] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="How the judge answers: logprob, cot, score, list or text.")
    ] = "logprob",
    data: Annotated[Path | None, DATA] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=10, help="Pairs judged per source, if time allows.")] = 120,
    seconds: Annotated[float, typer.Option("--seconds", min=5, help="Time for all measurements together.")] = 75.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> None:
    """Measure whether a model can criticise and judge, against floors that need no model, and say so in words.

    Exit code 1 where the verdict is no.
    """
    from cai.cli.doctor_measures import Examination, measure, prepare

    kind = [f"engine.kind={engine}"] if engine is not None else []
    spec = load_settings(EngineSettings, "engine", None, [*(overrides or []), *kind], {"model": model})
    examination: Examination = prepare(spec, constitution, mode, data, pairs=pairs, seconds=seconds, seed=seed)
    findings = measure(examination)
    if as_json:
        from cai.judge.people import dumps

        typer.echo(dumps([finding.model_dump(mode="json") for finding in findings]), nl=False)
    else:
        _print(model, findings)
    if not all(finding.good for finding in findings if finding.decides):
        raise typer.Exit(1)


def _print(model: str, findings: list[Finding]) -> None:
    for finding in findings:
        typer.echo(f"{'ok ' if finding.good else 'BAD'} {plain(finding.said)}")
        for note in finding.notes:
            typer.echo(f"      {plain(note)}")
    bad = [finding.name for finding in findings if finding.decides and not finding.good]
    name = one_line(model)
    if not bad:
        typer.echo(f"verdict: {name} can criticise and judge; start a long run")
    else:
        typer.echo(f"verdict: {name} is not fit for a long run as it is: {', '.join(bad)}")
