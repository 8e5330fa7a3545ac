"""K replies to a prompt from one policy at one temperature."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cai.engine.protocol import Engine, Sampling, Turn
from cai.records import Prompt, Samples, Usage
from cai.seeds import seed_for


async def sample(prompt: Prompt, policy: Engine, *, K: int, like: Sampling, run_seed: int) -> Samples:
    """K replies drawn `like` that, each under a seed of its own, without the space around them."""
    turns = tuple(Turn.of(message) for message in prompt.messages)
    seeds = (seed_for(run_seed, "sample", prompt.id, k) for k in range(K))
    drawn = await asyncio.gather(*(policy.generate(turns, replace(like, seed=seed)) for seed in seeds))
    return Samples(
        prompt=prompt,
        replies=tuple(completion.text.strip() for completion in drawn),
        policy=policy.model,
        temperature=like.temperature,
        seed=run_seed,
        truncated=tuple(completion.finish_reason == "length" for completion in drawn),
        usage=sum((completion.usage for completion in drawn), Usage()),
    )
