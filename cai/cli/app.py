"""The `cai` command: finds a command's file, runs it, and turns our errors into one line and an exit code."""

from __future__ import annotations

import importlib
import sys

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

from cai.errors import CaiError

COMMANDS = {
    "demo": "Draft, criticise and revise testbed prompts with the built-in tiny model.",
    "constitution": "Write, check, show, compare and import constitutions.",
    "critique": "Draft, criticise and revise replies under a constitution.",
    "label": "Sample replies and judge pairs of them: soft preferences.",
    "doctor": "Measure whether a model can criticise and judge at all.",
    "train": "Train a policy or a reward model on what the other commands wrote.",
    "runs": "List, show and remove what lies in runs/.",
}
"""Name and one-line help; the command itself is `app` in `cai/cli/NAME.py`."""


class LazyGroup(TyperGroup):
    """A group that imports a command's file when the command is called, so that `cai --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = get_command(importlib.import_module(f"cai.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def cai(version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """Constitutional AI from YAML principles: critique and revise, judge, train, compare."""
    if version:
        from cai import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 above an error threshold, 2 wrong input, 3 run is held, 130 interrupted."""
    try:
        app()
    except CaiError as error:
        sys.stdout.flush()
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
