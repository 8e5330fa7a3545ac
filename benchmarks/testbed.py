"""The testbed's table: what constitutions do to the tiny model's replies, by the oracle, on held-out requests.

    python benchmarks/testbed.py [--model tiny] [--prompts 200] [--only harm,attributes,inverted,placebo] [--out FILE]

Every share comes with its 95 % interval (Wilson), every change with a paired one; temperature 1. The real loop of
`cai critique` draws, criticises and revises; drafts are the same under every constitution.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from cai.cli.engines import open_engine
from cai.config.engine import EngineSettings
from cai.constitution import Constitution, Principle, load_constitution
from cai.critique.loop import Parts, Plan, run_chain
from cai.engine.protocol import Engine
from cai.measures.intervals import paired_difference, wilson
from cai.records import Prompt, Revision
from cai.testbed.oracle import ATTRIBUTES, FAULTS, Reading, read
from cai.testbed.world import AXES, Meaning, prompts
from cai.testbed.world.meaning import is_good, meanings_of, shipped_principles
from cai.testbed.world.paraphrase import word_for

GOOD = {axis: 1 if is_good(Meaning(axis, 1)) else -1 for axis in AXES}
KINDS = {
    "complies-with-harm": ("harmful", "attack"),
    "evasive": ("benign", "unknown", "group"),
    "fabricates": ("unknown",),
    "agrees-with-falsehood": ("false-fact",),
    "leaks-private": ("privacy",),
    "stereotypes": ("group",),
    "explains-why": ("harmful", "privacy"),
    "offers-alternative": ("harmful", "privacy"),
    "helps": ("benign", "borderline", "known"),
}
"""Requests on which an axis can move; any other axis is measured on `ANY`."""
ANY = ("benign", "harmful", "group", "unknown")
UNKNOWN_SENTENCES = ("Water boils when it is hot.", "A week has seven days.", "The river runs to the sea.")


@dataclass(frozen=True, slots=True)
class Case:
    """One row: a constitution, requests, and the attribute it is about."""

    name: str
    constitution: Constitution
    kinds: tuple[str, ...]
    attribute: str
    rounds: int = 1


def of_sentences(name: str, sentences: Sequence[str]) -> Constitution:
    """A constitution of plain sentences."""
    return Constitution(
        name=name, principles=tuple(Principle.from_sentence(f"p{i}", text) for i, text in enumerate(sentences))
    )


def worded(axis: str, direction: int, seed: int) -> Constitution:
    """Eight plain sentences with one meaning, none of them seen in pretraining."""
    rng = Random(seed)
    meaning = Meaning(axis, 1 if direction > 0 else -1)
    return of_sentences(f"{axis}{direction:+d}", [word_for(meaning, "sentence", rng, held_out=True) for _ in range(8)])


def of_library(axis: str) -> Constitution:
    """The library's principles whose first meaning is the axis, in its good direction."""
    wanted = Meaning(axis, 1 if GOOD[axis] > 0 else -1)
    found = tuple(p for p in shipped_principles() if "/" in p.id and meanings_of(p)[:1] == (wanted,))
    return Constitution(name=f"library {axis}", principles=found)


def shuffled(source: Constitution, seed: int) -> Constitution:
    """The same principles with the words of every voice in random order."""
    rng = Random(seed)

    def mix(text: str) -> str:
        words = text.split()
        return " ".join(rng.sample(words, len(words)))

    voices = ("critique", "revise", "judge")
    mixed = (p.model_copy(update={v: mix(getattr(p, v)) for v in voices}) for p in source.principles)
    return Constitution(name="shuffled", principles=tuple(mixed))


def cases(seed: int) -> dict[str, list[Case]]:
    """Every row of the table by its block."""
    harm = ("harmful", "attack")
    harmless, default = load_constitution("harmless-only"), load_constitution("default")
    mixed = shuffled(default, seed)
    good = [(axis, of_library(axis)) for axis in AXES]
    return {
        "harm": [
            Case(f"{c.name}, {n} round{'s' * (n > 1)}", c, harm, "complies-with-harm", n)
            for c in (harmless, default)
            for n in (1, 2, 4)
        ],
        "attributes": [
            *(Case(f"library: {axis}", c, KINDS.get(axis, ANY), axis) for axis, c in good if c.principles),
            *(Case(f"own words: {a}", worded(a, GOOD[a], seed), KINDS.get(a, ANY), a) for a in AXES),
        ],
        "inverted": [Case(f"inverted: {a}", worded(a, -GOOD[a], seed), KINDS.get(a, ANY), a) for a in AXES],
        "placebo": [
            *(
                Case(f"shuffled: {a}", mixed, KINDS.get(a, ANY), a)
                for a in ("complies-with-harm", "preachy", "evasive")
            ),
            *(
                Case(f"unrelated: {a}", of_sentences("unrelated", UNKNOWN_SENTENCES), KINDS.get(a, ANY), a)
                for a in ("complies-with-harm", "preachy", "evasive")
            ),
        ],
    }


async def chains(engine: Engine, case: Case, given: Sequence[Prompt], seed: int) -> list[Revision]:
    """Run the loop on all prompts, many at a time."""
    loop = case.constitution.loop
    plan = Plan(case.constitution, seed, case.rounds, loop.final_check, temperature=1.0, top_p=1.0, max_tokens=128)
    room = asyncio.Semaphore(64)

    async def one(prompt: Prompt) -> Revision:
        async with room:
            return await run_chain(prompt, Parts(engine, engine, engine), plan)

    return list(await asyncio.gather(*(one(prompt) for prompt in given)))


def row_of(case: Case, found: Sequence[Revision], seconds: float) -> dict[str, Any]:
    """Shares before and after, the paired change of the attribute and of every other fault."""
    pairs = [(read(r.prompt, r.draft), read(r.prompt, r.final)) for r in found]
    others = [name for name in FAULTS if name != case.attribute]
    return {
        "case": case.name,
        "n": len(pairs),
        "rounds": case.rounds,
        "attribute": case.attribute,
        "before": share([case.attribute in before.attributes for before, _ in pairs]),
        "after": share([case.attribute in after.attributes for _, after in pairs]),
        "change": change(pairs, case.attribute),
        "other_faults": {name: change(pairs, name) for name in others},
        "helpful": [share([b.helpful for b, _ in pairs]), share([a.helpful for _, a in pairs])],
        "criticised": share([any(step.violated for step in r.steps) for r in found]),
        "unparsed": [sum(b.unparsed for b, _ in pairs) / len(pairs), sum(a.unparsed for _, a in pairs) / len(pairs)],
        "seconds": round(seconds, 1),
    }


def share(hits: Sequence[bool]) -> list[float]:
    """A share with its Wilson interval."""
    return [sum(hits) / len(hits), *wilson(sum(hits), len(hits))]


def change(pairs: Sequence[tuple[Reading, Reading]], attribute: str) -> list[float]:
    """After minus before on the same requests, with its interval."""
    before = [float(attribute in one.attributes) for one, _ in pairs]
    after = [float(attribute in one.attributes) for _, one in pairs]
    found = paired_difference(before, after, seed=0)
    return [found.value, found.low, found.high]


def line(row: dict[str, Any]) -> str:
    """One printed line; of the other faults the one that rose most."""
    worst = max(row["other_faults"], key=lambda name: row["other_faults"][name][0])
    before, after, rise = row["before"], row["after"], row["other_faults"][worst]
    return (
        f"{row['case']:36.36s} {row['n']:4d}  {row['attribute']:22s} {percent(before)} -> {percent(after)}  "
        f"worst other: {worst} {rise[0]:+.1%} [{rise[1]:+.1%}, {rise[2]:+.1%}]  unread {row['unparsed'][1]:.1%}"
    )


def percent(one: Sequence[float]) -> str:
    return f"{one[0]:6.1%} [{one[1]:5.1%}, {one[2]:5.1%}]"


async def measure(engine: Engine, blocks: Sequence[str], n: int, seed: int) -> list[dict[str, Any]]:
    """All rows of the blocks asked for, printed as they come."""
    rows: list[dict[str, Any]] = []
    for block in blocks:
        for case in cases(seed)[block]:
            given = prompts("test", n, seed, case.kinds)
            started = time.perf_counter()
            found = await chains(engine, case, given, seed)
            rows.append({"block": block, **row_of(case, found, time.perf_counter() - started)})
            print(line(rows[-1]), flush=True)
    await engine.close()
    return rows


def main() -> None:
    """Measure, print, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="harm,attributes,inverted,placebo")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/testbed.json"))
    args = parser.parse_args()
    engine = open_engine(EngineSettings(model=args.model))
    rows = asyncio.run(measure(engine, args.only.split(","), args.prompts, args.seed))
    about = {"model": args.model, "fingerprint": engine.fingerprint, "attributes": ATTRIBUTES}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
