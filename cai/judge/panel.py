"""Put replies before one or more judges under one or more principles, and keep every single answer.

All questions about one prompt run at once: they share the prefix up to the principle, so an engine with a prefix cache
reads the conversation and the replies once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from random import Random

from cai.config.label import Mode, Orders
from cai.constitution.model import JudgeExample, Principle
from cai.engine.protocol import Engine, OptionsUnsupported, Turn
from cai.judge.modes import cot, list, logprob, score, text
from cai.judge.prompts import fence_for, many_text, one_text
from cai.judge.question import Answer, Question
from cai.records import Order, Prompt, Usage, Verdict
from cai.seeds import content_id, seed_for

TRIES = 2
"""Times a question is asked whose answer in words could not be read; the second time held to the verdicts there are,
or with a temperature where the engine cannot do that."""
SECOND_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that judges, under the name its verdicts carry."""

    name: str
    engine: Engine


@dataclass(frozen=True, slots=True)
class Asking:
    """How every question of a run is asked."""

    mode: Mode = "logprob"
    orders: Orders = "both"
    best_of: bool = False
    examples: tuple[JudgeExample, ...] = ()
    cot_samples: int = 1
    cot_tokens: int = 64
    cot_clamp: float = 0.4
    words_tokens: int = 64
    seed: int = 0

    @property
    def needs_logprobs(self) -> bool:
        """Whether the mode reads log-probs of options."""
        return self.mode in ("logprob", "cot", "score") or (self.mode == "list" and self.best_of)


def orders_of(asking: Asking, prompt: Prompt, replies: Sequence[str]) -> tuple[Order, ...]:
    """Both orders, or the one that the record's seed draws."""
    if asking.orders == "both":
        return ("ab", "ba")
    draw = Random(seed_for(asking.seed, "order", prompt.id, content_id(*replies)))
    return (draw.choice(("ab", "ba")),)


async def ask_pair(
    judges: Sequence[Judge], principles: Sequence[Principle], prompt: Prompt, a: str, b: str, asking: Asking
) -> tuple[tuple[Verdict, ...], Usage]:
    """Every judge, principle and order on replies a and b, in that nesting. For the modes logprob, cot and text."""
    fence = fence_for(asking.seed, prompt, (a, b))
    cells = tuple(product(judges, principles, orders_of(asking, prompt, (a, b))))

    async def one(judge: Judge, principle: Principle, order: Order) -> tuple[Verdict, Usage]:
        seed = seed_for(asking.seed, "judge", prompt.id, content_id(a, b), principle.id, judge.name, order)
        question = Question(prompt, a, b, order, principle.judge, fence, seed, asking.examples)
        answer = await ask(judge.engine, question, asking)
        return answer.verdict(principle=principle, judge=judge.name, mode=asking.mode, order=order), answer.usage

    got = await asyncio.gather(*(one(*cell) for cell in cells))
    return tuple(verdict for verdict, _ in got), sum((usage for _, usage in got), Usage())


def first_question(prompt: Prompt, replies: Sequence[str], principle: Principle, asking: Asking) -> tuple[Turn, ...]:
    """The turns of the first question about these replies, to be shown to a person."""
    fence, voice = fence_for(asking.seed, prompt, replies), principle.judge
    if asking.mode == "score":
        return (Turn("user", score.ask_score(one_text(prompt, replies[0], fence), voice)),)
    if asking.mode == "list":
        ask = list.ask_best if asking.best_of else list.ask_rank
        return (Turn("user", ask(many_text(prompt, replies, fence), voice)),)
    question = Question(prompt, replies[0], replies[-1], "ab", voice, fence, asking.seed, asking.examples)
    if asking.mode == "cot":
        return (Turn("user", cot.ask_reason(question.text, voice)),)
    return logprob.turns(question) if asking.mode == "logprob" else text.turns(question)


async def _in_words(engine: Engine, question: Question, asking: Asking, *, again: bool) -> Answer:
    """The judge's words; the second time, one of four verdicts by its log-prob where the engine gives any."""
    if again:
        with suppress(OptionsUnsupported):
            return await text.held(engine, question)
    temperature = SECOND_TEMPERATURE if again else 0.0
    return await text.answer(engine, question, max_tokens=asking.words_tokens, temperature=temperature)


async def ask(engine: Engine, question: Question, asking: Asking) -> Answer:
    """One question in the run's mode; words that cannot be read are asked for once more."""
    if asking.mode == "logprob":
        return await logprob.answer(engine, question)
    usage, answer = Usage(), None
    for attempt in range(TRIES):
        question = replace(question, seed=seed_for(question.seed, "try", attempt))
        if asking.mode == "cot":
            bounds = (asking.cot_clamp, 1.0 - asking.cot_clamp)
            answer = await cot.answer(
                engine, question, samples=asking.cot_samples, max_tokens=asking.cot_tokens, bounds=bounds
            )
        else:
            answer = await _in_words(engine, question, asking, again=attempt > 0)
        usage += answer.usage
        if answer.p_first is not None or answer.cannot_tell:
            break
    assert answer is not None
    return replace(answer, usage=usage)
