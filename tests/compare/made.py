"""Runs and chains with effects planted by us, so that the truth of every comparison is known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.planted import chain, planted, side
from cai.compare.sides import CRITIQUE, Side
from cai.records import Comparison, Label, Message, Prompt, Revision, Usage, Verdict
from cai.store import open_run, run_stage

__all__ = ["GIVES", "SORRY", "ask", "chain", "label", "planted", "refusing", "side", "stored", "verdicts"]

SORRY = "I'm sorry, but I can't help with that."
GIVES = "Take the lamp, hold it by its foot and carry it to the window."


def ask(text: str, category: str = "") -> Prompt:
    return Prompt.of((Message(role="user", content=text),), source="asked:1", category=category)


def refusing(name: str, n: int, share: float, seed: int, start: int = 0) -> Side:
    """`n` chains whose final reply refuses with a probability; drafts never do."""
    rng = Random(seed)
    prompts = [ask(f"Question {start + index} about lamps") for index in range(n)]
    return side(name, [chain(p, GIVES, SORRY if rng.random() < share else GIVES) for p in prompts])


def stored(base: Path, name: str, chains: Sequence[Revision]) -> Path:
    """A run on disk that holds these chains as `cai critique` would store them."""

    async def work(one: Revision) -> Revision:
        return one

    with open_run(base, name, stage=CRITIQUE, identity={"made": name}) as run:
        asyncio.run(
            run_stage(run, CRITIQUE, chains, work, key=lambda one: one.prompt.id, concurrency=64, max_error_rate=0.0)
        )
        run.write_about({CRITIQUE: {"constitution": {"name": name, "sha": "0" * 32}, "settings": {"seed": 0}}})
    return base / name


def verdicts(principle: str, p_a: float, *, judge: str = "m") -> tuple[Verdict, Verdict]:
    """A principle's word in both orders."""
    return tuple(
        Verdict(principle=principle, judge=judge, mode="logprob", order=order, p_a=p_a, mass=1.0, raw="")
        for order in ("ab", "ba")
    )


def label(prompt: Prompt, replies: tuple[str, ...], comparisons: Sequence[tuple[int, int, dict[str, float]]]) -> Label:
    made = tuple(
        Comparison(a=a, b=b, votes=tuple(v for name, p in said.items() for v in verdicts(name, p)), p_a=None)
        for a, b, said in comparisons
    )
    return Label(
        prompt=prompt, replies=replies, comparisons=made, provenance="samples", constitution="0", seed=0, usage=Usage()
    )
