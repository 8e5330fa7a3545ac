"""Finds the processes that a process has started, by what they call themselves."""

from __future__ import annotations

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
