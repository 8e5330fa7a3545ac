"""A whole label run on scripted engines; as a program it kills itself at a given model call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from random import Random

from cai.constitution.model import Constitution
from cai.engine.protocol import EngineFault, Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.judge import write
from cai.judge.diagnostics import Diagnostics, diagnose
from cai.judge.draw import draw_principles
from cai.judge.label import Candidates, Combining, tasks
from cai.judge.panel import Asking, Judge
from cai.judge.stage import (
    LABEL,
    SAMPLES,
    Work,
    draw_samples,
    label_identity,
    label_tasks,
    labels,
    sampled,
    samples_identity,
)
from cai.store import Counts, open_run
from tests.judge.shown import LONGER, SHORTER, letters, prompt

CONSTITUTION = Constitution(name="two", principles=(SHORTER, LONGER))
PROMPTS = [prompt(f"Question {n}?", category="even" if n % 2 == 0 else "odd") for n in range(24)]
LIKE = Sampling(0, 1.0, 1.0, 32)
HOW = {"K": 3, "like": LIKE, "run_seed": 5}
EXPORTS = ("pairs.parquet", "lists.parquet", "diagnostics.json", "people.csv", "people.jsonl", "README.md")


def reply(turns: tuple[Turn, ...], sampling: Sampling) -> str:
    """A reply of a length that its seed decides; some prompts get the same reply every time."""
    if turns[-1].content == "Question 7?":
        return "The same."
    return "word " * Random(sampling.seed).randint(1, 9)


def run(
    base: Path,
    *,
    concurrency: int = 4,
    judge: ScriptedEngine | None = None,
    policy: ScriptedEngine | None = None,
    asking: Asking | None = None,
    candidates: list[Candidates] | None = None,
) -> tuple[list[Counts], Diagnostics]:
    """Sample, label and write everything."""
    policy = policy or ScriptedEngine(reply)
    judges = [Judge("j", judge or ScriptedEngine(reply, letters(bias=0.3)))]
    asking = asking or Asking(seed=5)
    combining, work = Combining(CONSTITUTION.sha), Work(concurrency)
    counts: list[Counts] = []
    if candidates is None:
        with open_run(base, "r", stage=SAMPLES, identity=samples_identity(policy, **HOW)) as held:
            counts.append(asyncio.run(draw_samples(held, PROMPTS, policy, work, **HOW)))
    identity = label_identity(judges, asking, combining, canaries=0.1, source=SAMPLES)
    with open_run(base, "r", stage=LABEL, identity=identity) as held:
        draw = draw_principles(CONSTITUTION, "stratified", 5)
        todo = tasks(candidates or sampled(held), draw, canaries=0.1, run_seed=5)
        counts.append(asyncio.run(label_tasks(held, todo, judges, asking, combining, work, identity=identity)))
        write.write_pairs(held, "all", 0.0)
        write.write_lists(held)
        found = diagnose(labels(held))
        write.write_diagnostics(held, found)
        write.write_card(held, CONSTITUTION, found, source="test", judges=["j"], mode=asking.mode)
        write.write_people(held, {p.id: p.judge for p in CONSTITUTION.principles}, 0.3, 5)
    return counts, found


def dying(after: int) -> tuple[ScriptedEngine, ScriptedEngine]:
    """A policy and a judge that take the process with them at call number `after`."""
    calls = iter(range(10**6))

    def die() -> None:
        if next(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    def say(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        die()
        return reply(turns, sampling)

    def options(turns: tuple[Turn, ...], asked: tuple[str, ...]) -> object:
        die()
        return letters(bias=0.3)(turns, asked)

    return ScriptedEngine(say), ScriptedEngine(reply, options)  # pyright: ignore[reportArgumentType]


def faulty() -> ScriptedEngine:
    """A judge that fails every question once for a passing reason."""
    seen: set[str] = set()

    def options(turns: tuple[Turn, ...], asked: tuple[str, ...]) -> object:
        if turns[-1].content not in seen:
            seen.add(turns[-1].content)
            raise EngineFault("try again")
        return letters(bias=0.3)(turns, asked)

    return ScriptedEngine(reply, options)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    policy, judge = dying(int(sys.argv[2]))
    run(Path(sys.argv[1]), policy=policy, judge=judge)
