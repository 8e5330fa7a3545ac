"""Which principles judge a prompt's replies: one at random, one by weight, dealt evenly by category, or all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from cai.config.label import Principles
from cai.constitution.model import Constitution, Principle
from cai.errors import InputError
from cai.records import Prompt
from cai.seeds import seed_for

Draw = Callable[[Prompt], tuple[Principle, ...]]


def judging(constitution: Constitution) -> tuple[Principle, ...]:
    """The principles that have a judge voice; an InputError where none has one."""
    voiced = tuple(principle for principle in constitution.principles if principle.judge)
    if not voiced:
        raise InputError(
            f"constitution {constitution.name!r} has no principle with a `judge` voice",
            "add `judge: Which reply …?` to a principle, or write the principle as one plain sentence",
        )
    return voiced


def importance(principle: Principle, how: Principles) -> float:
    """What a principle counts where several judge one label: its weight, with `priority` doubled by each step of it."""
    return principle.weight * (2.0**principle.priority if how == "priority" else 1.0)


def draw_principles(constitution: Constitution, how: Principles, run_seed: int) -> Draw:
    """A function from a prompt to the principles it is judged under.

    All but `stratified` depend on the prompt alone. `stratified` deals the principles out evenly within each category,
    so it depends on the order of the prompts too: it must be asked in input order, once per prompt.
    """
    voiced = judging(constitution)
    if how in ("all", "priority"):
        return lambda prompt: voiced
    if how == "stratified":
        return _dealt(voiced, run_seed)
    weights = [principle.weight for principle in voiced] if how == "weighted" else None

    def one(prompt: Prompt) -> tuple[Principle, ...]:
        return tuple(Random(seed_for(run_seed, "principle", prompt.id)).choices(voiced, weights))

    return one


def _dealt(voiced: tuple[Principle, ...], run_seed: int) -> Draw:
    """Each category goes through all principles in a shuffled order before any of them comes again."""
    seen: Counter[str] = Counter()

    def next_one(prompt: Prompt) -> tuple[Principle, ...]:
        turn, place = divmod(seen[prompt.category], len(voiced))
        seen[prompt.category] += 1
        deck = Random(seed_for(run_seed, "deal", prompt.category, turn)).sample(voiced, len(voiced))
        return (deck[place],)

    return next_one
