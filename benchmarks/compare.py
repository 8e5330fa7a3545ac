"""How long a comparison of finished runs takes, without a model.

    python -m benchmarks.compare [--records 10000]

Makes two critique runs of so many records in a temporary folder, then times the work of `cai compare`: reading both
journals, every measure with its interval, and the three files of the report.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cai.cli.compare_job import Given, compare
from cai.config.compare import CompareSettings
from cai.config.engine import EngineSettings
from cai.records import Message, Prompt, Revision, Step, Usage
from cai.store import open_run, run_stage

GIVES = "Take the lamp by its foot, lift it slowly, carry it to the window and set it down on the sill. " * 3
SORRY = "I'm sorry, but I can't help with that."


def chains(records: int, every: int) -> Iterator[Revision]:
    """One chain per prompt with two steps; every so many replies refuse."""
    for n in range(records):
        prompt = Prompt.of((Message(role="user", content=f"Question {n}: how do I carry a lamp to the window?"),))
        step = Step(round=0, principle=f"p{n % 7}", critique=GIVES, violated=True, revision=GIVES, changed=True)
        yield Revision(
            prompt=prompt,
            draft=GIVES,
            steps=(step, step),
            final=SORRY if n % every == 0 else f"{GIVES} {n}",
            constitution=str(every),
            models={"draft": "m", "critic": "m", "reviser": "m"},
            seed=0,
            usage=Usage(calls=5, prompt_tokens=900, completion_tokens=200),
        )


def store(base: Path, name: str, records: int, every: int) -> None:
    """A run as `cai critique` leaves it."""

    async def same(chain: Revision) -> Revision:
        return chain

    with open_run(base, name, stage="critique", identity={"made": name}) as run:
        asyncio.run(
            run_stage(
                run,
                "critique",
                chains(records, every),
                same,
                key=lambda chain: chain.prompt.id,
                concurrency=64,
                max_error_rate=0.0,
            )
        )


def main() -> None:
    """Print seconds of wall and processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    records = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        store(base, "x", records, 3)
        store(base, "y", records, 2)
        wall, processor = time.perf_counter(), time.process_time()
        compare(Given(("x", "y"), CompareSettings(), EngineSettings(), None, (), base))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = (base / "compare" / "report.html").stat().st_size / 1e6
    print(f"{records:,} records a run: {wall:.1f} s, {processor:.1f} s of processor time, page of {size:.0f} MB")


if __name__ == "__main__":
    main()
