"""A small stage whose answers depend on the item alone, and child processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cai.errors import CaiError
from cai.records import Record, Usage
from cai.store import Counts, Run, batches, open_run, run_stage

IDENTITY: dict[str, object] = {"settings": {"rounds": 2}, "constitution": "c" * 64, "model": "m" * 32}
SCHEMA = pa.schema([("item", pa.int64()), ("text", pa.string())])


class Answer(Record):
    """What the test stage makes of an item."""

    item: int
    text: str
    usage: Usage


def answer(item: int) -> Answer:
    return Answer(item=item, text=f"reply {item} " * (item % 7), usage=Usage(calls=1, completion_tokens=item))


async def answer_soon(item: int) -> Answer:
    await asyncio.sleep(0)
    return answer(item)


def stage(
    run: Run,
    items: Iterable[int],
    work: Callable[[int], Awaitable[Record]] = answer_soon,
    *,
    concurrency: int = 4,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """One pass over `items`."""
    return asyncio.run(
        run_stage(run, "test", items, work, key=lambda i: f"key-{i}", concurrency=concurrency, progress=progress)
    )


def export(run: Run) -> bytes:
    """Write the stage's export and give its bytes."""
    rows = ({"item": row.body.item, "text": row.body.text} for row in run.rows("test", Answer) if row.body)
    run.write_export("answers.parquet", batches(rows, SCHEMA), SCHEMA)
    return (run.folder / "answers.parquet").read_bytes()


def whole(base: Path, name: str, items: Iterable[int]) -> bytes:
    """Run the stage to its end in `base/name` and give the export's bytes."""
    with open_run(base, name, stage="test", identity=IDENTITY) as run:
        stage(run, items)
        return export(run)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended: its exit code, or the signal that killed it."""

    code: int | None
    signal: int | None


def start(act: Callable[[], None]) -> int:
    """Run `act` in a forked child and return its process id; a CaiError becomes its exit code, another error 99."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        act()
        code = 0
    except CaiError as error:
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - a child that leaves by an exception would run the parent's tests
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def wait(child: int) -> Ended:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Ended(None, os.WTERMSIG(status))
    return Ended(os.waitstatus_to_exitcode(status), None)


def in_child(act: Callable[[], None]) -> Ended:
    return wait(start(act))


def die() -> None:
    """As from `kill -9`: nothing is flushed, closed or told."""
    os.kill(os.getpid(), signal.SIGKILL)
