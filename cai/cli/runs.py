"""`cai runs`: what lies in runs/, one run in detail, second tries, removal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cai.cli.terminal import duration, one_line, plain
from cai.errors import InputError

if TYPE_CHECKING:
    from cai.store.listing import StageStanding
    from cai.store.reader import Reader

app = typer.Typer(no_args_is_help=True)
_BASE = typer.Option(Path("runs"), "--in", help="Folder that holds the runs.")
_HEADS = ("run", "stage", "state", "ok", "quarantined", "calls", "tokens", "time", "size")
_WORDS = 3  # columns of words, which line up left; numbers line up right


@app.command("list", short_help="A line for each stage of each run.")
def list_runs(base: Path = _BASE) -> None:
    """One line per stage of every run, one per comparison: state, counts, model calls, tokens, time, size."""
    from cai.store import StoreError
    from cai.store.listing import look_at, run_folders

    rows: list[tuple[str, ...]] = []
    for folder in run_folders(base):
        try:
            run = look_at(folder)
        except StoreError as fault:
            rows.append((one_line(folder.name, 40), "-", f"unreadable: {one_line(str(fault), 200)}"))
            continue
        stages = [_cells(stage) for stage in run.stages] or [
            ("compare", "report") if _compares(folder) else ("-", "empty")
        ]
        rows += [(folder.name, *cells, *[""] * (7 - len(cells)), _size(run.bytes)) for cells in stages]
    for line in _table(_HEADS, rows) if rows else [f"no runs in {base}"]:
        typer.echo(line)


@app.command(short_help="One run: what it was made with, faults, files.")
def show(name: str, base: Path = _BASE) -> None:
    """One run: its stages, what they were made with, why records were quarantined, its files. Or a comparison."""
    from cai.store.listing import files, find_folder, look_at
    from cai.store.lock import holder
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    folder = find_folder(base, name)
    run = look_at(folder)
    typer.echo(str(folder))
    if any(stage.held for stage in run.stages):
        typer.echo(f"held by {plain(holder(folder))}")
    for line in _table(_HEADS[1:-1], [_cells(stage) for stage in run.stages], words=2) if run.stages else ():
        typer.echo(line)
    for stage in run.stages:
        for line in _detail(Reader(folder / JOURNAL), stage.name):
            typer.echo(line)
    typer.echo("\nfiles")
    for line in _table((), [(one_line(file), _size(size)) for file, size in files(folder)], words=1):
        typer.echo(f"  {line}")


@app.command(short_help="Let quarantined records be tried again.")
def retry(name: str, base: Path = _BASE) -> None:
    """Forget a run's quarantined records, so that the same command as before tries them again."""
    from cai.store.listing import find_run, forget_quarantined

    count = forget_quarantined(find_run(base, name))
    typer.echo(f"{count:,} records are to be tried again: give the command that made {name}" if count else "none")


@app.command(short_help="Remove runs for good.")
def rm(
    names: list[str],
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    base: Path = _BASE,
) -> None:
    """Remove runs or comparisons for good: journal, exports, reports, everything in their folders.

    The runs that a comparison made are runs of their own and stay.
    """
    from cai.store.listing import files, find_folder, remove

    folders = [find_folder(base, name) for name in names]
    if not yes and not sys.stdin.isatty():
        raise InputError("removing asks first, and there is no terminal to ask on", "add --yes")
    for folder in folders:
        size = _size(sum(size for _, size in files(folder)))
        if yes or typer.confirm(f"remove {folder} ({size})?"):
            remove(folder)
            typer.echo(f"removed {folder} ({size})")


def _compares(folder: Path) -> bool:
    from cai.store.listing import REPORT

    return (folder / REPORT).is_file()


def _cells(stage: StageStanding) -> tuple[str, ...]:
    """A stage's columns from its name to its time."""
    totals = stage.totals
    tokens = totals.usage.prompt_tokens + totals.usage.completion_tokens
    numbers = (totals.states["ok"], totals.states["quarantined"], totals.usage.calls, tokens)
    return (one_line(stage.name, 40), stage.state, *(f"{number:,}" for number in numbers), duration(totals.seconds))


def _detail(reader: Reader, stage: str) -> Iterator[str]:
    """What a stage was made with, and why records of it were quarantined."""
    yield f"\n{one_line(stage, 40)} was made with"
    for key, value in sorted(json.loads(reader.identity(stage) or "{}").items()):
        yield f"  {one_line(key, 40)}: {one_line(json.dumps(value, ensure_ascii=False, sort_keys=True), 200)}"
    for error in reader.errors(stage):
        yield f"  {error.count:,} quarantined, {error.kind}: {one_line(error.example, 160)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = _WORDS) -> Iterator[str]:
    """Aligned lines; the first `words` columns hold words. A line that ends early may end as wide as it likes."""
    lines = [heads, *rows] if heads else list(rows)
    columns = max((len(line) for line in lines), default=0)
    whole = [line for line in lines if len(line) == columns]
    widths = [max(len(line[at]) for line in whole) for at in range(columns)]
    for line in lines:
        cells = [cell.ljust(widths[at]) if at < words else cell.rjust(widths[at]) for at, cell in enumerate(line)]
        yield "  ".join(cells).rstrip()


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
