"""A command with a stage that the tests interrupt: `slow_stage.py BASE SECONDS_PER_ITEM ITEMS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from small_stage import IDENTITY, Answer, answer, export, stage

from cai.errors import CaiError
from cai.store import Counts, open_run


def main(base: Path, seconds: float, items: int) -> None:
    async def work(item: int) -> Answer:
        await asyncio.sleep(seconds)
        return answer(item)

    def progress(counts: Counts) -> None:
        print(f"stopping, {counts.in_flight} in flight" if counts.stopping else f"done {counts.done}", flush=True)

    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(items), work, progress=progress)
        export(run)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    except CaiError as error:
        print(f"error: {error}", flush=True)
        sys.exit(error.exit_code)
