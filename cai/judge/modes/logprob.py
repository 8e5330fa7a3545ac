"""Mode `logprob`, the default: one prefill and the log-probs of two letters, no decoding (Bai et al. 2022, 4.1)."""

from __future__ import annotations

from cai.engine.protocol import Engine, Turn
from cai.judge.prompts import LETTERS, ask_letter
from cai.judge.question import Answer, Question, example_text, read_options


def turns(question: Question) -> tuple[Turn, ...]:
    """The few-shots as earlier turns, each with its own principle, then the question."""
    asked: list[Turn] = []
    for example in question.examples:
        asked.append(Turn("user", ask_letter(example_text(example), example.judge)))
        asked.append(Turn("assistant", example.answer))
    asked.append(Turn("user", ask_letter(question.text, question.voice)))
    return tuple(asked)


async def answer(engine: Engine, question: Question) -> Answer:
    """p(A) / (p(A) + p(B)) at the answer's first position."""
    options = LETTERS[:2]
    scores = await engine.option_logprobs(turns(question), options)
    shares, mass, raw = read_options(scores, options)
    return Answer(None if shares is None else shares[0], raw, scores.usage, mass=mass)
