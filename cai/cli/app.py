"""The `cai` command: finds a command's file, runs it, and turns our errors into one line and an exit code."""

from __future__ import annotations

import importlib
import signal
import sys
import threading

import typer

from cai.cli.terminal import plain
from cai.errors import CaiError

INTERRUPTED = 130
COMMANDS = {
    "demo": "Run the whole pipeline on the testbed with the built-in tiny model.",
    "constitution": "Write, check, show, compare and import constitutions.",
    "critique": "Draft, criticise and revise replies under a constitution.",
    "label": "Sample replies and judge pairs of them: soft preferences.",
    "doctor": "Measure whether a model can criticise and judge at all.",
    "train": "Train a policy or a reward model on what the other commands wrote.",
    "sample": "Draw replies and keep those a reward model likes best.",
    "run": "Run a whole pipeline from one recipe.",
    "compare": "Compare constitutions, or finished runs: what differs, with intervals.",
    "evaluate": "Measure a model on suites of prompts, bare or under attack.",
    "redteam": "Grow attack prompts that a model falls for.",
    "runs": "List, show, retry and remove what lies in runs/.",
}
"""Name and one-line help. `cai/cli/NAME.py` holds either `command`, a function, or `app`, a group of subcommands."""


def build(called: str) -> typer.Typer:
    """The whole command line, with only the file of the command `called` imported, so that `cai --help` stays fast."""
    app = typer.Typer(
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(top)
    for name, help in COMMANDS.items():
        if name != called:
            app.command(name, short_help=help)(_not_called)
            continue
        module = importlib.import_module(f"cai.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=help, short_help=help)
        else:
            app.command(name, short_help=help)(module.command)
    return app


def _not_called() -> None:
    raise AssertionError("a command that was not named cannot run")


def top(version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """Constitutional AI from YAML principles: critique and revise, judge, train, compare."""
    if version:
        from cai import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 above an error threshold, 2 wrong input, 3 run is held, 130 interrupted."""
    _interrupt_on_sigterm()
    try:
        called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        build(called)()
    except CaiError as error:
        sys.stdout.flush()
        for line in str(error).splitlines() or [type(error).__name__]:
            typer.echo(f"error: {plain(line)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's own way to leave on Ctrl-C
            _say_interrupted()
        raise


def _interrupt_on_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does, also while a model loads; a stage that runs handles both itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _say_interrupted() -> None:
    typer.echo("error: interrupted; what was finished is stored; resumable: same command", err=True)
