"""What another process has done so far: the processes that it started, the records that it stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def children(parent: int, name: str) -> list[int]:
    """Process ids below `parent`, at any depth, whose command line or own name holds `name`."""
    parents: dict[int, int] = {}
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            pid, words = int(place.name), (place / "cmdline").read_bytes() + (place / "comm").read_bytes()
            parents[pid] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if name.encode() in words:
            found.append(pid)

    def below(pid: int) -> bool:
        return pid == parent or (pid in parents and below(parents[pid]))

    return [pid for pid in found if below(pid)]


def stored(journal: Path) -> int:
    """Records in a journal that may be written to meanwhile, or not exist yet."""
    if not journal.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # its tables are being made
