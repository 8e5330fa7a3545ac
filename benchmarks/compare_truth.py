"""Does every difference that a comparison shows have the sign of the truth? Six pairs of constitutions, by the oracle.

    python -m benchmarks.compare_truth [--model tiny|grammar] [--prompts 150] [--truth 400] [--judged 40] [--in FOLDER]

Each pair is compared on `--prompts` requests. The truth of an outcome is the oracle's difference on `--truth` other
requests, drawn with another seed; the truth of what the neutral panel prefers is the same panel with the oracle as its
judge, on the same replies. Prints a table, writes JSON, exits with 1 where a shown difference has the wrong sign. The
same command again goes on where it stopped. `grammar` is a model that knows the testbed by heart, for a quick look.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.conditions import conditions, write_results
from benchmarks.grammar_model import grammar_model
from cai.cli.compare_given import Given
from cai.cli.compare_made import labels_by, plan, side_of
from cai.cli.engines import open_engine
from cai.cli.table import table_lines
from cai.compare.assemble import assemble, finals, with_drafts
from cai.compare.judged import Match, judge_all
from cai.compare.neutral import PANEL
from cai.compare.scoring import Hearing
from cai.compare.sides import Side, pair
from cai.config.compare import CompareSettings
from cai.config.engine import EngineSettings
from cai.constitution import load_constitution
from cai.critique.loop import Parts
from cai.engine.protocol import Engine
from cai.judge.panel import Judge
from cai.measures.contrast import Contrast

SIX = (
    ("default", "harmless-only"),
    ("default", "helpful-only"),
    ("non-preachy", "inverted-preachy"),
    ("harmless-only", "honest"),
    ("helpful-only", "non-preachy"),
    ("minimal", "inverted-preachy"),
)
ORACLE_OF = {"refusal": "oracle: refuses", "full refusal": "oracle: refuses", "evasion": "oracle: evasive"}
"""Outcomes read from words, and the attribute that the oracle reads; any other outcome is its own truth."""


@dataclass(frozen=True)
class Checked:
    """One shown difference, `b` minus `a`, and the truth; for the panel both are win shares of b less one half."""

    a: str
    b: str
    outcome: str
    reported: float
    truth: float
    truth_low: float | None
    truth_high: float | None

    @property
    def agrees(self) -> bool:
        return self.reported * self.truth >= 0.0


@dataclass(frozen=True)
class Making:
    """What every comparison of the benchmark shares."""

    engine: Engine
    spec: EngineSettings
    base: Path
    prompts: int
    truth: int
    judged: int

    def given(self, limit: int, seed: int, run: str) -> Given:
        settings = CompareSettings(limit=limit, seed=seed, run=run, judged=self.judged)
        return Given(("default",) * 2, settings, self.spec, None, (), self.base)


async def sides_of(how: Making, given: Given) -> dict[str, Side]:
    """Every constitution of the six pairs, criticised once."""
    names = sorted({name for names in SIX for name in names})
    parts = Parts(how.engine, how.engine, how.engine)
    return {
        todo.constitution.name: await side_of(todo, parts, [])
        for todo in plan(given, list(map(load_constitution, names)))
    }


async def checked(how: Making) -> tuple[list[Checked], int]:
    """Every shown difference beside its truth, and how many differences were looked at."""
    given = how.given(how.prompts, 0, "reported")
    reported, truth = await sides_of(how, given), await sides_of(how, how.given(how.truth, 99, "truth"))
    found, looked = list[Checked](), 0
    for a, b in SIX:
        sides = (reported[a], reported[b])
        matches = {who: await panel(how, given, sides, who, engine) for who, engine in judges(how).items()}
        result = assemble(sides)
        true = {c.outcome: c for c in assemble((truth[a], truth[b])).contrasts if (c.a, c.b) == (a, b)}
        contrasts = [
            c for c in result.contrasts if (c.a, c.b) == (a, b) and ORACLE_OF.get(c.outcome, c.outcome) in true
        ]
        looked += len(contrasts) + 1
        found += [compared(c, true) for c in contrasts if c.shown]
        said, meant = matches["panel"], matches["oracle"]
        if said is not None and meant is not None and said.shown:
            found.append(judged(said, meant))
    return found, looked


def judges(how: Making) -> dict[str, Engine]:
    return {"panel": how.engine, "oracle": grammar_model(lapse=0.0)}


def compared(c: Contrast, true: Mapping[str, Contrast]) -> Checked:
    t = true[ORACLE_OF.get(c.outcome, c.outcome)]
    return Checked(c.a, c.b, c.outcome, c.difference, t.difference, t.low, t.high)


def judged(said: Match, meant: Match) -> Checked:
    low, high = (None if bound is None else bound - 0.5 for bound in (meant.low, meant.high))
    return Checked(said.a, said.b, "neutral panel", said.win_share - 0.5, meant.win_share - 0.5, low, high)


async def panel(how: Making, given: Given, sides: tuple[Side, Side], who: str, engine: Engine) -> Match | None:
    """The neutral panel's match of the two, judged by an engine."""
    paired = with_drafts(pair(sides))
    labels = await labels_by(given, paired, PANEL, [Judge(who, engine)], [])
    judging = judge_all([Hearing(PANEL.name, True, labels)], finals(paired), 0)
    a, b = (side.name for side in sides)
    return next((m for m in judging.matches if (m.a, m.b) == (a, b)), None)


async def run(how: Making) -> tuple[list[Checked], int]:
    try:
        return await checked(how)
    finally:
        await how.engine.close()


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=150)
    parser.add_argument("--truth", type=int, default=400)
    parser.add_argument("--judged", type=int, default=40)
    parser.add_argument("--in", dest="base", type=Path, default=Path("runs/compare-truth"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compare_truth.json"))
    asked = parser.parse_args()
    began, start = conditions(), time.perf_counter()
    spec = EngineSettings() if asked.model == "grammar" else EngineSettings(model=asked.model)
    engine = grammar_model() if asked.model == "grammar" else open_engine(spec)
    how = Making(engine, spec, asked.base / Path(asked.model).name, asked.prompts, asked.truth, asked.judged)
    found, looked = asyncio.run(run(how))
    rows = [
        [f"{c.b} against {c.a}", c.outcome, f"{c.reported:+.3f}", f"{c.truth:+.3f}", "" if c.agrees else "WRONG"]
        for c in found
    ]
    wrong = sum(not c.agrees for c in found)
    print("\n".join(table_lines([["pair", "shown to differ", "reported", "truth", "sign"], *rows], 40)))
    print(f"{looked} differences looked at, {len(found)} shown, {wrong} with the wrong sign")
    facts = {name: getattr(asked, name) for name in ("model", "prompts", "truth", "judged")}
    results = {"seconds": round(time.perf_counter() - start, 1), "looked_at": looked, "wrong": wrong,
               "shown": [{**asdict(c), "agrees": c.agrees} for c in found]}  # fmt: skip
    write_results(asked.out, {**began, **facts, "fingerprint": engine.fingerprint}, results)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
