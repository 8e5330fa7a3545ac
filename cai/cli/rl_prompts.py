"""Which prompts a reinforcement run learns on and which it is watched on; those too long to answer are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cai.cli.prompts import TESTBED, open_prompts
from cai.config.rl import RLSettings
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.records import Prompt
    from cai.train.loading import Base

TRAIN_PROMPTS = 2000
"""Testbed requests where no limit is given."""


def learning_prompts(settings: RLSettings) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Prompts to learn on and prompts to watch; none is in both."""

    def read(name: str, split: str, limit: int | None) -> tuple[Prompt, ...]:
        asked = open_prompts(
            name, column=settings.column, split=split, limit=limit, seed=settings.seed, skip_bad_rows=False
        )
        return tuple(asked.prompts)

    count = settings.watch.prompts
    if settings.prompts == TESTBED:
        learn = read(TESTBED, settings.split or "train", settings.limit or TRAIN_PROMPTS)
        return learn, read(settings.watch_prompts or TESTBED, "validation", count)
    everything = read(settings.prompts, settings.split, settings.limit)
    if settings.watch_prompts:
        watch = read(settings.watch_prompts, settings.split, count)
        held = {prompt.id for prompt in watch}
        everything = tuple(prompt for prompt in everything if prompt.id not in held)
    else:
        watch, everything = everything[:count], everything[count:]
    if not everything:
        what = f"{settings.prompts} has no prompts left to learn on once {len(watch)} are held out"
        raise InputError(what, "give more prompts, or fewer for rl.watch.prompts", Where("rl.watch.prompts"))
    return everything, watch


def with_room(prompts: Sequence[Prompt], base: Base, settings: RLSettings) -> tuple[Prompt, ...]:
    """Those that leave room for the longest reply. Raises InputError where none does."""
    from cai.engine.protocol import Turn

    limit = min(base.limit, settings.engine.context_length or base.limit)
    most, renderer = limit - settings.rollout.max_tokens, base.tokenise.renderer
    kept = tuple(p for p in prompts if len(renderer.prompt_ids(tuple(Turn.of(m) for m in p.messages))) <= most)
    if not kept:
        what = f"no prompt leaves room for a reply of {settings.rollout.max_tokens} tokens in a context of {limit}"
        raise InputError(what, "lower it, or give shorter prompts", Where("rl.rollout.max_tokens"))
    return kept
