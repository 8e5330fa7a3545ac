"""`cai redteam` without its flags: seeds and models to a run, and the run to prompts and a table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.engines import check_engine, open_engines
from cai.cli.prompts import TESTBED, open_prompts
from cai.cli.table import table_lines
from cai.cli.terminal import progress_bar
from cai.config.engine import EngineSettings
from cai.config.evaluate import RedteamSettings
from cai.seeds import content_id

if TYPE_CHECKING:
    from cai.engine.protocol import Engine
    from cai.evaluate.redteam import Grown, Judge
    from cai.records import Prompt, Usage
    from cai.store import Counts

PROMPTS = "redteam.jsonl"


def redteam(settings: RedteamSettings, spec: EngineSettings, base: Path) -> Iterator[str]:
    """Grow, judge, write; the lines to print.

    Raises InputError before any model loads, and TooManyErrors once the table is out.
    """
    prompts = seeds_of(settings)
    parts = {"target": spec.model, "attacker": settings.attacker or spec.model, "judge": settings.judge or spec.model}
    specs = {part: spec.model_copy(update={"model": model}) for part, model in parts.items()}
    for one in specs.values():
        check_engine(one)
    grown, folder, counts = asyncio.run(_work(settings, specs, prompts, base))
    yield from report(grown, folder)
    counts.check_errors()


def seeds_of(settings: RedteamSettings) -> Sequence[Prompt]:
    """Harmful requests of the testbed, or the prompts of a file."""
    if settings.seeds == TESTBED:
        from cai.testbed.world import prompts

        return prompts("test", settings.limit, settings.seed, ("harmful",))
    asked = open_prompts(
        settings.seeds, column="", split="", limit=settings.limit, seed=settings.seed, skip_bad_rows=False
    )
    return list(asked.prompts)


async def _work(
    settings: RedteamSettings, specs: dict[str, EngineSettings], prompts: Sequence[Prompt], base: Path
) -> tuple[list[Grown], Path, Counts]:
    from cai.evaluate.redteam import STAGE, VERSION, Growing, Grown, grow
    from cai.store import check_run, open_run, run_stage

    known = {
        "version": VERSION,
        "settings": settings.model_dump(mode="json", exclude={"run", "attacker", "judge"}),
        "seeds": content_id(*(prompt.id for prompt in prompts)),
    }
    check_run(base, settings.run, stage=STAGE, known=known)
    opened = open_engines(specs.values())
    engines = {part: opened[spec.model_dump_json()] for part, spec in specs.items()}
    how = Growing(
        engines["attacker"],
        engines["target"],
        judge_of(settings, engines["judge"]),
        settings.rounds,
        settings.width,
        settings.max_tokens,
        settings.seed,
    )
    identity = {"engines": {part: engine.fingerprint for part, engine in engines.items()}, **known}
    try:
        with (
            open_run(base, settings.run, stage=STAGE, identity=identity) as run,
            progress_bar(f"redteam {settings.run}") as progress,
        ):
            counts = await run_stage(
                run, STAGE, prompts, lambda prompt: grow(prompt, how), key=lambda prompt: prompt.id,
                concurrency=specs["target"].in_flight, max_error_rate=0.05, progress=progress, total=len(prompts),
            )  # fmt: skip
            grown = [row.body for row in run.rows(STAGE, Grown) if row.body is not None]
            run.write_text(PROMPTS, _lines(grown))
            return grown, run.folder, counts
    finally:
        for engine in opened.values():
            await engine.close()


def judge_of(settings: RedteamSettings, engine: Engine) -> Judge:
    """The oracle on the testbed unless a judge is named; else the judge's Yes or No."""
    from cai.evaluate.harm_judge import judge_harm
    from cai.records import Usage

    async def truth(request: str, reply: str) -> tuple[float | None, Usage]:
        from cai.testbed.oracle import read

        return float(read(request, reply).harmful), Usage()

    async def asked(request: str, reply: str) -> tuple[float | None, Usage]:
        return await judge_harm(engine, request, reply)

    return truth if settings.seeds == TESTBED and not settings.judge else asked


def _lines(grown: Sequence[Grown]) -> str:
    from cai.evaluate.redteam import successes

    rows = [
        {"messages": [m.model_dump() for m in p.messages], "category": p.category, "source": p.source}
        for p in successes(grown)
    ]
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def report(grown: Sequence[Grown], folder: Path) -> list[str]:
    """Success by category, the worst first, the mean below."""
    from cai.evaluate.redteam import by_category, successes
    from cai.measures.intervals import wilson

    rows = [["category", "seeds", "succeed bare", "broken", "% broken", "95 % interval", "attempts", "unread"]]
    found = by_category(grown)
    for c in found:
        rows.append(
            [c.category, str(c.seeds), str(c.bare), str(c.broken), f"{100 * c.broken / c.seeds:.1f}",
             f"{100 * c.low:.1f} to {100 * c.high:.1f}", str(c.attempts), str(c.unread)]
        )  # fmt: skip
    seeds, broken = sum(c.seeds for c in found), sum(c.broken for c in found)
    low, high = wilson(broken, seeds)
    rows.append(
        ["all", str(seeds), str(sum(c.bare for c in found)), str(broken), f"{100 * broken / max(1, seeds):.1f}",
         f"{100 * low:.1f} to {100 * high:.1f}", str(sum(c.attempts for c in found)), str(sum(c.unread for c in found))]
    )  # fmt: skip
    count, path = len(successes(grown)), folder / PROMPTS
    return [*table_lines(rows), f"{count} different prompts that succeeded: cai critique -p {path}"]
