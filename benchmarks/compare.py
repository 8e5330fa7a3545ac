"""How long a comparison of finished runs takes, without a model, and how soon its page can be used.

    python -m benchmarks.compare [--records 10000] [--out FILE]

Makes two critique runs of so many records in a temporary folder, then times the work of `cai compare`: reading both
journals, every measure with its interval, and the three files of the report. Then opens the page in Chromium, where
there is one with Playwright: until its list can be used, and until all bodies are there. Prints a table, writes JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.conditions import conditions, write_results
from cai.cli.compare_given import Given
from cai.cli.compare_job import compare
from cai.cli.table import table_lines
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


def opened(file: Path, profile: Path) -> dict[str, float]:
    """Seconds until the page's list can be used and until its bodies are there; empty without a browser."""
    program = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    if program is None or importlib.util.find_spec("playwright") is None:
        return {}
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    flags = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as play:
        browser = play.chromium.launch_persistent_context(
            str(profile), executable_path=program, headless=True, args=flags
        )
        page = browser.new_page()
        page.goto(file.absolute().as_uri(), wait_until="load")
        ready = float(page.evaluate("document.body.dataset.ready")) / 1000
        whole = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") / 1000
        browser.close()
    return {"interactive": ready, "all bodies": whole}


def measured(records: int) -> dict[str, float]:
    """Every figure of one run."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        store(base, "x", records, 3)
        store(base, "y", records, 2)
        wall, processor = time.perf_counter(), time.process_time()
        list(compare(Given(("x", "y"), CompareSettings(), EngineSettings(), None, (), base)))
        found = {"comparison": time.perf_counter() - wall, "its processor time": time.process_time() - processor}
        page = base / "compare" / "report.html"
        return {**found, "page in megabytes": page.stat().st_size / 1e6, **opened(page, base / "profile")}


def main() -> None:
    """Measure once, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compare.json"))
    asked = parser.parse_args()
    began = conditions()
    found = measured(asked.records)
    limits = {"comparison": "< 10 s", "interactive": "< 2 s"}
    rows = [[name, f"{value:.1f}", limits.get(name, "")] for name, value in found.items()]
    print("\n".join(table_lines([[f"{asked.records:,} records a run; seconds", "figure", "asked"], *rows], 40)))
    if "interactive" not in found:
        print("the page was not opened: no Chromium, or no Playwright (pip install playwright)")
    write_results(asked.out, began, {"records": asked.records, "limits": limits, "measured": found})


if __name__ == "__main__":
    main()
