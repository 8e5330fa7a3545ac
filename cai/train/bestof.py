"""Inference-time alignment: draw N replies, keep what a reward model likes, and offer it as supervised data.

Best-of-N keeps the highest reward of each prompt (Stiennon et al. 2020); its KL from the policy is at most log N - (N
- 1) / N. Rejection sampling keeps every reply above a threshold on the normalised reward. Both write the columns `cai
train sft` reads.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cai.engine.protocol import Engine, Sampling, Turn
from cai.records import Prompt, Samples, Usage
from cai.seeds import content_id, seed_for
from cai.train.rewarding import RewardModel

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "sample"
CHOSEN = "sft.parquet"


@dataclass(frozen=True, slots=True)
class Choice:
    """A kept reply: its normalised reward, the ensemble's spread, and the mean reward of its prompt's draws."""

    prompt: Prompt
    reply: str
    reward: float
    spread: float
    mean: float
    drawn: int


async def draw(prompt: Prompt, policy: Engine, count: int, like: Sampling, run_seed: int) -> Samples:
    """`count` replies, each under a seed of its own that depends on the prompt and its number alone."""
    turns = tuple(Turn.of(message) for message in prompt.messages)
    seeds = [seed_for(run_seed, STAGE, prompt.id, k) for k in range(count)]
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


def record_id(prompt: Prompt, policy: Engine, count: int, like: Sampling, run_seed: int) -> str:
    """What a stored draw depends on."""
    return content_id(
        STAGE, prompt.id, policy.fingerprint, count, like.temperature, like.top_p, like.max_tokens, run_seed
    )


def choose(samples: Iterable[Samples], rewards: RewardModel, above: float | None, size: int = 16) -> Iterator[Choice]:
    """The best reply of each prompt or, with `above`, each different reply whose reward is at least that.

    Empty and cut-off replies are never chosen: they are no training data, whatever their reward.
    """
    chunk = list[Samples]()
    for row in samples:
        chunk.append(row)
        if len(chunk) == size:
            yield from _choose(chunk, rewards, above)
            chunk = []
    yield from _choose(chunk, rewards, above)


def _choose(rows: list[Samples], rewards: RewardModel, above: float | None) -> Iterator[Choice]:
    usable = [
        tuple(dict.fromkeys(t for t, cut in zip(r.replies, r.truncated, strict=True) if t and not cut)) for r in rows
    ]
    kept = [(row, texts) for row, texts in zip(rows, usable, strict=True) if texts]
    if not kept:
        return
    found = rewards([row.prompt for row, _ in kept], [texts for _, texts in kept])
    values, spreads, start = found.mean_S.tolist(), found.std_S.tolist(), 0
    for row, texts in kept:
        part = range(start, start + len(texts))
        start += len(texts)
        mean = sum(values[i] for i in part) / len(texts)
        best = max(part, key=lambda i: values[i])
        for i in part:
            if (i == best) if above is None else values[i] >= above:
                yield Choice(row.prompt, texts[i - part.start], values[i], spreads[i], mean, len(row.replies))


def best_and_worst(prompt: Prompt, replies: Sequence[str], rewards: RewardModel) -> tuple[str, str]:
    """Of at least two different replies those of the highest and the lowest mean reward, in their own order."""
    order: list[int] = rewards([prompt], [replies]).mean_S.argsort().tolist()
    first, second = sorted((order[0], order[-1]))
    return replies[first], replies[second]


def kl_bound(count: int) -> float:
    """Nats that best-of-N can move from the policy."""
    return math.log(count) - (count - 1) / count


def rows_of(choices: Iterable[Choice], reward_model: str, policy: str, seed: int) -> Iterator[dict[str, Any]]:
    """Rows in TRL's conversational format with where they come from."""
    for choice in choices:
        messages = [{"role": m.role, "content": m.content} for m in choice.prompt.messages]
        yield {
            "messages": [*messages, {"role": "assistant", "content": choice.reply}],
            "prompt_id": choice.prompt.id,
            "source": choice.prompt.source,
            "category": choice.prompt.category,
            "reward": choice.reward,
            "reward_spread": choice.spread,
            "reward_mean": choice.mean,
            "drawn": choice.drawn,
            "reward_model": reward_model,
            "policy": policy,
            "seed": seed,
        }


def schema() -> pa.Schema:
    """Columns of the exported file."""
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    texts, numbers = ("prompt_id", "source", "category"), ("reward", "reward_spread", "reward_mean")
    fields: list[tuple[str, Any]] = [("messages", messages), *((name, pa.string()) for name in texts)]
    fields += [*((name, pa.float64()) for name in numbers), ("drawn", pa.int32())]
    return pa.schema([*fields, ("reward_model", pa.string()), ("policy", pa.string()), ("seed", pa.int64())])
