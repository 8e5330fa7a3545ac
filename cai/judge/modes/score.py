"""Mode `score`: one reply at a time gets a number from 1 to 10, read as the expectation over all ten log-probs.

Direct reward as in Lee et al. 2023, section 2.2, rescaled from [1, 10] to [-1, 1]. Two replies are compared by the
chance that a number drawn for the one is above a number drawn for the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai.engine.protocol import Engine, OptionScores, Turn
from cai.judge.prompts import one_text
from cai.judge.question import LEAST_MASS, read_options
from cai.records import Prompt, Usage

ASK_SCORE = (
    "{judge}\nThat question is about two replies. Rate how well this one does by it, from 1 (worst) to 10 (best). "
    "Answer with the number."
)
EMPTY = (Turn("user", ""),)
NUMBERS = tuple(str(number) for number in range(1, 11))


@dataclass(frozen=True, slots=True)
class Score:
    """`shares` holds the probabilities of the numbers 1 to 10, None where the judge gave no number."""

    shares: tuple[float, ...] | None
    mass: float
    raw: str
    usage: Usage

    @property
    def reward(self) -> float | None:
        """The expected number rescaled to [-1, 1]."""
        if self.shares is None:
            return None
        return (sum(number * share for number, share in enumerate(self.shares, start=1)) - 5.5) / 4.5


def ask_score(one: str, judge_voice: str) -> str:
    """The whole user message; `one` is the text of `prompts.one_text`."""
    return f"{one}\n{ASK_SCORE.replace('{judge}', judge_voice)}"


def read_numbers(scores: OptionScores, *, overlap: bool) -> tuple[tuple[float, ...] | None, float, str]:
    """As `read_options`; with `overlap`, "10" is written with the token of "1" first, and "1" counts it too.

    What goes on to "10" is then taken out of "1". A server that shows "1" and no "10" may write "10" as "1" and "0":
    such an answer is unread, or a ten would count as a one.
    """
    if not overlap or scores.bounded[9]:
        shares, mass, raw = read_options(scores, NUMBERS)
        hidden = scores.bounded[9] and shares is not None and shares[0] > LEAST_MASS
        return (None if hidden else shares), mass, raw
    ten, one = math.exp(scores.logprobs[9]), math.exp(scores.logprobs[0])
    alone = max(one - ten, 0.0)
    first = math.log(alone) if alone > 0.0 else -math.inf
    apart = OptionScores((first, *scores.logprobs[1:]), scores.bounded, scores.usage)
    return read_options(apart, NUMBERS)


def p_above(a: Sequence[float], b: Sequence[float]) -> float:
    """P(number of a > number of b) + half of P(equal), the two numbers being drawn independently."""
    return sum(x * y * (1.0 if i > j else 0.5 if i == j else 0.0) for i, x in enumerate(a) for j, y in enumerate(b))


async def answer(engine: Engine, prompt: Prompt, reply: str, voice: str, fence: str) -> Score:
    """The judge's number for one reply under one principle; no order is involved."""
    turns = (Turn("user", ask_score(one_text(prompt, reply, fence), voice)),)
    scores = await engine.option_logprobs(turns, NUMBERS)
    # Of an empty conversation: an engine that only estimates tokens counts both alike.
    overlap = engine.count_tokens(EMPTY, "10") > engine.count_tokens(EMPTY, "1")
    shares, mass, raw = read_numbers(scores, overlap=overlap)
    return Score(shares, mass, raw, scores.usage)
