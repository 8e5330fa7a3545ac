"""Draw replies from the policy's engine: K a prompt, each with its own seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cai.engine.protocol import Sampling, TrainableEngine, Turn
from cai.errors import CaiError, RecordFault
from cai.records import Prompt
from cai.seeds import seed_for


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply of the policy. `reply_ids` end with the end token where the model drew one (`ended`)."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]
    text: str
    ended: bool
    engine_logp: tuple[float, ...]
    """Natural log-prob of each reply id at the sampling temperature, as the engine saw it."""


async def roll_out(
    engine: TrainableEngine,
    prompts: Sequence[Prompt],
    *,
    replies: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    run_seed: int,
    step: int,
    stage: str = "rollout",
) -> list[Sample]:
    """`replies` samples a prompt, prompt by prompt. The draw depends on seed, stage, step, prompt and index alone.

    A prompt that stands there twice has other replies the second time.
    """

    async def one(prompt: Prompt, turns: tuple[Turn, ...], prompt_ids: tuple[int, ...], index: int) -> Sample:
        sampling = Sampling(
            seed=seed_for(run_seed, stage, step, prompt.id, index),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            logprobs=True,
        )
        try:
            drawn = await engine.generate(turns, sampling)
        except RecordFault as fault:
            raise CaiError(f"prompt {prompt.id} cannot be answered: {fault}") from fault
        ids = drawn.token_ids if drawn.end_id is None else (*drawn.token_ids, drawn.end_id)
        if drawn.logprobs is None or len(drawn.logprobs) != len(ids) or not ids:
            raise CaiError(f"engine {engine.model!r} does not tell the token ids and log-probs that training needs")
        return Sample(prompt, prompt_ids, ids, drawn.text, drawn.end_id is not None, drawn.logprobs)

    jobs, asked = [], Counter[str]()
    for prompt in prompts:
        turns = tuple(Turn.of(message) for message in prompt.messages)
        prompt_ids, start = engine.encode(turns), asked[prompt.id]
        jobs += [one(prompt, turns, prompt_ids, index) for index in range(start, start + replies)]
        asked[prompt.id] += replies
    return list(await asyncio.gather(*jobs))
