"""Which principles a round of critique and revision uses."""

from __future__ import annotations

from random import Random

from cai.constitution.model import Constitution, Principle
from cai.seeds import seed_for


def principle_for(constitution: Constitution, run_seed: int, prompt_id: str, round: int) -> tuple[Principle, ...]:
    """The principles of one round for one prompt: one, or with draw "all" every one, highest priority first.

    It depends on its arguments alone. `random` draws anew each round, so one may come twice; `cycle` starts each prompt
    at a place of its own and goes on from there. A principle without critique voice is for the judge only and is not
    drawn; without any that can be drawn the result is empty, and the round makes no critique.
    """
    able = tuple(principle for principle in constitution.principles if principle.critique)
    if not able:
        return ()
    draw = constitution.loop.draw
    if draw == "all":
        return by_priority(able)
    if draw == "cycle":
        start = seed_for(run_seed, "draw", prompt_id) % len(able)
        return (able[(start + round) % len(able)],)
    random = Random(seed_for(run_seed, "draw", prompt_id, round))
    weights = [principle.weight for principle in able] if draw == "weighted" else None
    return (random.choices(able, weights)[0],)


def by_priority(principles: tuple[Principle, ...]) -> tuple[Principle, ...]:
    """Highest priority first; equal ones keep their order."""
    return tuple(sorted(principles, key=lambda principle: -principle.priority))
