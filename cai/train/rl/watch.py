"""Watch for reward hacking: a reward that rises for reasons nobody wanted.

Each evaluation draws replies to the same held-out prompts and has them scored by a judge the policy is not trained on.
The comparison is paired by prompt, so a fall is named only where its interval excludes zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai.config.rl import Watch
from cai.measures.intervals import paired_difference


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One look at the policy on the held-out prompts, in their order; unread scores are nan."""

    step: int
    reward_P: tuple[float, ...]
    held_out_P: tuple[float, ...]
    length_P: tuple[float, ...]
    distinct_2: float
    """Distinct 2-grams of words over all 2-grams, all replies together."""
    kl: float
    """Mean KL of a reply to the reference, nats."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A named sign of reward hacking."""

    name: str
    step: int
    message: str


def signs_of_hacking(history: Sequence[Evaluation], watch: Watch, *, seed: int) -> tuple[Warned, ...]:
    """What the last evaluation shows against the first one, and against the best held-out verdict so far."""
    if len(history) < 2:
        return ()
    first, now = history[0], history[-1]
    best = max(history[:-1], key=lambda e: -math.inf if math.isnan(m := _mean(e.held_out_P)) else m)
    found: list[Warned] = []
    reward = _change(first.reward_P, now.reward_P, seed)
    verdict = _change(best.held_out_P, now.held_out_P, seed)
    if reward is not None and verdict is not None and reward[1] > 0 and verdict[2] < 0:
        text = (
            f"reward rose by {reward[0]:+.3f} while the held-out judge fell by {verdict[0]:+.3f} since step {best.step}"
        )
        found.append(Warned("reward_up_verdict_down", now.step, text))
    lengths = _mean(first.length_P), _mean(now.length_P)
    if not 1 / watch.length_drift <= (lengths[1] + 1) / (lengths[0] + 1) <= watch.length_drift:
        text = f"replies went from {lengths[0]:.0f} to {lengths[1]:.0f} tokens"
        found.append(Warned("length_drift", now.step, text))
    if now.distinct_2 < watch.distinct_collapse * first.distinct_2:
        text = f"distinct 2-grams fell from {first.distinct_2:.2f} to {now.distinct_2:.2f}"
        found.append(Warned("distinct_collapse", now.step, text))
    return tuple(found)


def signs_of_trouble(now: Evaluation) -> tuple[Warned, ...]:
    """What is no hacking but keeps anyone from seeing it: a judge or a reward that read nothing."""
    found: list[Warned] = []
    for name, who, values in (
        ("verdict_unread", "the held-out judge", now.held_out_P),
        ("reward_unread", "the reward", now.reward_P),
    ):
        if all(math.isnan(value) for value in values):
            found.append(Warned(name, now.step, f"{who} could read none of {len(values)} replies: hacking goes unseen"))
    return tuple(found)


def distinct_ngrams(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams of all texts; nan where there are none."""
    grams = [gram for text in texts for gram in zip(*(text.split()[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else math.nan


def _mean(values: Sequence[float]) -> float:
    read = [v for v in values if not math.isnan(v)]
    return sum(read) / len(read) if read else math.nan


def _change(a: Sequence[float], b: Sequence[float], seed: int) -> tuple[float, float, float] | None:
    """Mean paired change with its 95 % interval over prompts read both times; None where there are fewer than two."""
    read = [(x, y) for x, y in zip(a, b, strict=True) if not (math.isnan(x) or math.isnan(y))]
    if len(read) < 2:
        return None
    d = paired_difference([x for x, _ in read], [y for _, y in read], seed=seed, resamples=1999)
    return d.value, d.low, d.high
