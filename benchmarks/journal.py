"""What loop and journal cost beside the model: two-round chains with an engine that answers at once.

    python -m benchmarks.journal [--chains 5000] [--records 100000] [--out benchmarks/results/journal.json]

Prints finished chains a second at concurrency 64 with and without the journal, rows a second by size of the commit,
the peak memory of a process that makes `--records` chains and their export, with the bytes of a chain, and how long
`cai --help` takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.conditions import conditions, write_results
from cai.constitution import load_constitution
from cai.critique.export import write_datasets
from cai.critique.loop import Parts, Plan, run_chain
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.protocol import Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.records import Message, Prompt, Revision, Usage
from cai.store import open_run
from cai.store.journal import Journal
from cai.store.row import Row

CONCURRENCY, ROUNDS = 64, 2
WORDS = " ".join(f"word{n}" for n in range(60))
"""About 400 characters: the length of the drafts and revisions."""


def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
    """A reply that differs at each step; every critique finds something, so that each chain makes all five calls."""
    return f"{WORDS} {sampling.seed % 1000} after {len(turns)} turns"


def prompts(count: int) -> Iterator[Prompt]:
    for n in range(count):
        yield Prompt.of((Message(role="user", content=f"Question {n}: how do I do it? {WORDS}"),))


def parts_and_plan() -> tuple[Parts, Plan]:
    engine = ScriptedEngine(answer, remember=False)
    plan = Plan(load_constitution("default"), 0, ROUNDS, False, 1.0, 1.0, 256)
    return Parts(engine, engine, engine), plan


def with_journal(base: Path, count: int) -> float:
    """Chains a second through loop, driver and journal."""
    parts, plan = parts_and_plan()
    with open_run(base, "run", stage=STAGE, identity=identity(parts, plan)) as run:
        counts = asyncio.run(criticise(run, prompts(count), parts, plan, concurrency=CONCURRENCY, total=count))
        body = next(run.rows(STAGE, Revision)).body
    assert counts.ok == count
    assert body is not None
    assert body.usage.calls == 1 + 2 * ROUNDS, "not every chain made all its calls"
    return count / counts.seconds


def loop_alone(count: int) -> float:
    """Chains a second through the loop, records made and serialised, nothing stored."""
    parts, plan = parts_and_plan()

    async def chains() -> None:
        todo = prompts(count)

        async def chain() -> None:
            for prompt in todo:
                (await run_chain(prompt, parts, plan)).model_dump_json()

        await asyncio.gather(*(chain() for _ in range(CONCURRENCY)))

    began = time.perf_counter()
    asyncio.run(chains())
    return count / (time.perf_counter() - began)


def timed(measure: Callable[[], float], count: int) -> tuple[float, float]:
    """What `measure` returns, and the processor time of each of its `count` chains in ms."""
    began = time.process_time()
    return measure(), (time.process_time() - began) / count * 1000


def rates_by_group(base: Path, rounds: int = 7) -> dict[int, float]:
    """Rows a second by rows in a commit: medians of rounds in turn, since a disk is rarely ours alone."""
    rates: dict[int, list[float]] = {1: [], 8: [], 64: []}
    for at in range(rounds):
        for group, found in rates.items():
            found.append(rows_per_second(base / f"{at}-{group}.sqlite", group))
    return {group: statistics.median(found) for group, found in rates.items()}


def rows_per_second(path: Path, group: int, seconds: float = 0.4) -> float:
    """Rows of 3 kB a second, `group` in each durable commit."""
    journal, stored, body = Journal(path), 0, "x" * 3000
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows = [Row(f"{n:032x}", n, "ok", body, "", "", 1, 0.0, Usage()) for n in range(stored, stored + group)]
        journal.add("bench", rows)
        stored += group
    journal.close()
    return stored / (time.perf_counter() - began)


def peak_memory(base: Path, count: int) -> dict[str, float]:
    """Make `count` chains and their datasets in this process; MB at the start, at the peak of each half."""
    parts, plan = parts_and_plan()
    megabytes = [_peak()]
    with open_run(base, "run", stage=STAGE, identity=identity(parts, plan)) as run:
        counts = asyncio.run(criticise(run, prompts(count), parts, plan, concurrency=CONCURRENCY, total=count))
        megabytes.append(_peak())
        write_datasets(run, prompts(count), plan.constitution.name, "final")
        megabytes.append(_peak())
        size = (run.folder / "journal.sqlite").stat().st_size / 1e6
    return {
        "records": count,
        "imports_MB": megabytes[0],
        "stage_MB": megabytes[1],
        "export_MB": megabytes[2],
        "journal_MB": size,
        "seconds": counts.seconds,
    }


def _peak() -> float:
    """Most memory this process ever held, in MB; where there is no /proc it may be that of the parent before it."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024**2 if sys.platform == "darwin" else most / 1024


def help_seconds(times: int = 9) -> float:
    """Median wall time of a new process that prints `cai --help`."""
    command, took = [sys.executable, "-c", "from cai.cli import main; main()", "--help"], list[float]()
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=5000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--only-memory", action="store_true", help="Print the memory figures as JSON and nothing else.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/journal.json"))
    asked = parser.parse_args()
    began = conditions()
    work = Path(__file__).parent / "work"  # on the disk of the checkout: where /tmp is memory, syncing costs nothing
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        base = Path(folder)
        if asked.only_memory:
            print(json.dumps(peak_memory(base, asked.records)))
            return
        (alone, alone_ms), (stored, stored_ms) = (
            timed(lambda: loop_alone(asked.chains), asked.chains),
            timed(lambda: with_journal(base, asked.chains), asked.chains),
        )
        groups = rates_by_group(base)
    command = [sys.executable, "-m", "benchmarks.journal", "--only-memory", "--records", str(asked.records)]
    memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"two-round chains/s at concurrency {CONCURRENCY}: {stored:,.0f}; without the journal {alone:,.0f}")
    print(f"processor time of a chain: {stored_ms:.2f} ms; without the journal {alone_ms:.2f} ms")
    for group, rate in groups.items():
        print(f"rows of 3 kB/s, {group:>2} in a commit: {rate:,.0f} ({rate / groups[1]:.1f}x)")
    each = 1e6 * memory["journal_MB"] / memory["records"]
    print(
        f"peak memory of {memory['records']:,} chains: {memory['stage_MB']:,.0f} MB, with the export "
        f"{memory['export_MB']:,.0f} MB (imports alone {memory['imports_MB']:,.0f} MB), {memory['seconds']:,.0f} s; "
        f"{each:,.0f} bytes of journal each"
    )
    asked_help = help_seconds()
    print(f"cai --help: {asked_help:.2f} s")
    goals = {
        "chains/s >= 1,000": stored >= 1000,
        "memory < 400 MB": memory["export_MB"] < 400,
        "cai --help < 0.3 s": asked_help < 0.3,
    }
    for goal, met in goals.items():
        print(f"goal {goal}: {'met' if met else 'NOT met'}")
    result = {
        "chains_per_second": {"journal": stored, "loop_alone": alone},
        "processor_ms_per_chain": {"journal": stored_ms, "loop_alone": alone_ms},
        "rows_per_second_by_group": groups,
        "journal_bytes_per_chain": each,
        "memory": memory,
        "help_seconds": asked_help,
    }
    write_results(asked.out, began, result)


if __name__ == "__main__":
    main()
