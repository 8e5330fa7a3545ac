"""One process per run: a lock the kernel frees when its holder dies, and a note of who holds it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cai.errors import BusyError
from cai.store.faults import naming
from cai.store.files import dump_json
from cai.store.secrets import redact

LOCK, HOLDER = "run.lock", "holder.json"
PATIENCE_S = 0.3
"""Long enough for `cai runs list` to look at a run that is just being opened."""


@contextmanager
def holding(folder: Path, *, note: bool = True) -> Generator[None]:
    """Hold the run in `folder`, or raise BusyError naming the holder. A dead process holds nothing.

    Without `note` nothing is written, so that a run can be removed from a full disk.
    """
    lock = FileLock(folder / LOCK)
    with naming(folder / LOCK):
        try:
            lock.acquire(timeout=PATIENCE_S)
        except Timeout:
            what = f"{folder}: held by {holder(folder)}; wait for it to end or use another run name"
            raise BusyError(what) from None
    try:
        if note:
            _note(folder / HOLDER)
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def holder(folder: Path) -> str:
    """Who holds the run, in words; the note may be missing for a moment after the lock was taken."""
    try:
        note = json.loads((folder / HOLDER).read_text("utf-8"))
        return f"process {note['pid']} on {note['host']} since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def _note(path: Path) -> None:
    """Say who holds the run. It need not outlive a power cut, so nothing waits for the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path):
        temporary.write_text(dump_json(_me()), "utf-8")
        temporary.replace(path)


def _me() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redact(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))[:500],
    }
