"""One question to a judge and one answer, before anything is combined.

An answer speaks of the reply *shown first*; `verdict` turns it into one about reply a. An answer nobody could read has
`p_first` None; "cannot tell" was read, carries no preference either, and is told apart from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai.constitution.model import JudgeExample, Principle
from cai.engine.protocol import OptionScores
from cai.judge.prompts import fence_for, pair_text
from cai.records import Message, Order, Prompt, Usage, Verdict

LEAST_MASS = 0.01
"""Below this captured probability the judge did not answer with a letter at all: the answer is unread."""


@dataclass(frozen=True, slots=True)
class Question:
    """Two replies under one judge voice, in one order. `seed` belongs to this question alone."""

    prompt: Prompt
    a: str
    b: str
    order: Order
    voice: str
    fence: str
    seed: int
    examples: tuple[JudgeExample, ...] = ()

    @property
    def text(self) -> str:
        """Everything before the question itself."""
        return pair_text(self.prompt, self.a, self.b, self.order, self.fence)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `p_first` is the probability that the reply shown first is better."""

    p_first: float | None
    raw: str
    usage: Usage
    mass: float | None = None
    tie: bool = False
    cannot_tell: bool = False

    def verdict(self, *, principle: Principle, judge: str, mode: str, order: Order) -> Verdict:
        """The same answer about reply a."""
        p = self.p_first
        if p is not None and order == "ba":
            p = 1.0 - p
        return Verdict(
            principle=principle.id,
            judge=judge,
            mode=mode,
            order=order,
            p_a=p,
            mass=self.mass,
            raw=self.raw,
            tie=self.tie,
            cannot_tell=self.cannot_tell,
        )


def example_text(example: JudgeExample) -> str:
    """A few-shot's pair laid out like a real one, under a fence of its own that never changes."""
    prompt = Prompt.of((Message(role="user", content=example.prompt),))
    return pair_text(prompt, example.a, example.b, "ab", fence_for(0, prompt, (example.a, example.b)))


def read_options(scores: OptionScores, options: Sequence[str]) -> tuple[tuple[float, ...] | None, float, str]:
    """Probabilities renormalised over the options, the captured mass, and the log-probs as text.

    None instead of probabilities where a log-prob is not a number, where no option was among those the server shows,
    or where the options together hold less than `LEAST_MASS`: such a judge gave no answer.
    """
    raw = " ".join(
        f"{option}={'<' if bounded else ''}{logprob:.4f}"
        for option, logprob, bounded in zip(options, scores.logprobs, scores.bounded, strict=True)
    )
    if any(math.isnan(x) or x == math.inf for x in scores.logprobs) or all(scores.bounded):
        return None, 0.0, raw
    masses = [math.exp(x) for x in scores.logprobs]
    mass = math.fsum(masses)
    if mass < LEAST_MASS:
        return None, mass, raw
    return tuple(m / mass for m in masses), mass, raw
