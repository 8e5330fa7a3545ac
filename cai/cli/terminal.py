"""What reaches the terminal: text from models and files made harmless, and one progress bar for every stage."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from cai.store import Counts

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 but tab and newline, C1, and what changes the direction of writing: they move the cursor, set titles and the
clipboard, or make text read other than it is."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_SECONDS_BETWEEN_LINES = 10.0
_TITLE = ContextVar("title", default="")


def plain(text: str) -> str:
    """Untrusted text as the terminal may have it: control and direction characters gone, half surrogates as `\ufffd`.

    Every text that we did not write ourselves passes here before it is printed; with rich, also as `Text(plain(…))`,
    never as markup.
    """
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def one_line(text: str, width: int = 80) -> str:
    """Untrusted text in one line of at most `width` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def status(counts: Counts) -> str:
    """Done and total, quarantined, tokens per second, time left: one line."""
    parts = [f"{counts.done:,}/{counts.total:,}" if counts.total is not None else f"{counts.done:,}"]
    if counts.quarantined:
        parts.append(f"{counts.quarantined:,} quarantined")
    if counts.stopping:
        parts.append(f"stopping, {counts.in_flight} in flight; once more drops them")
    elif counts.done_now:
        parts.append(f"{counts.tokens_per_second:,.0f} tokens/s")
        if counts.seconds_left is not None:
            parts.append(f"{duration(counts.seconds_left)} left")
    return " · ".join(parts)


@contextmanager
def titled(start: str) -> Generator[None]:
    """Begin every progress line with `start`: one view of a pipeline whose stages each have a bar of their own."""
    token = _TITLE.set(_TITLE.get() + start)
    try:
        yield
    finally:
        _TITLE.reset(token)


def title() -> str:
    """What progress lines begin with."""
    return _TITLE.get()


@contextmanager
def progress_bar(what: str, stream: TextIO | None = None) -> Generator[Callable[[Counts], None]]:
    """A callback that shows a stage's counts: a moving bar on a terminal, else a plain line now and then."""
    out = stream or sys.stderr
    with (_bar if out.isatty() else _lines)(title() + what, out) as show:
        yield show


@contextmanager
def _bar(what: str, stream: TextIO) -> Generator[Callable[[Counts], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(plain(what), total=None, status="")

        def show(counts: Counts) -> None:
            progress.update(task, total=counts.total, completed=counts.done, status=status(counts))

        yield show


@contextmanager
def _lines(what: str, stream: TextIO) -> Generator[Callable[[Counts], None]]:
    last: Counts | None = None
    told: Counts | None = None
    due = time.monotonic() + _SECONDS_BETWEEN_LINES

    def tell(counts: Counts) -> None:
        nonlocal told
        told = counts
        print(f"{plain(what)}: {status(counts)}", file=stream, flush=True)

    def show(counts: Counts) -> None:
        nonlocal last, due
        last = counts
        if time.monotonic() >= due:
            due = time.monotonic() + _SECONDS_BETWEEN_LINES
            tell(counts)

    try:
        yield show
    finally:
        if last is not None and last is not told:
            tell(last)
