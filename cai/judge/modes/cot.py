"""Mode `cot`: the judge first compares in words, then names a letter in a second turn, read by its log-probs.

Reasoning makes the letter's probability near 0 or 1 and says little about how sure the judge is, so one sample is
clamped to 0.4-0.6 (Bai et al. 2022, section 4.1); several samples are averaged instead, unclamped.
"""

from __future__ import annotations

from cai.engine.protocol import Engine, Sampling, Turn
from cai.judge.prompts import LETTERS
from cai.judge.question import Answer, Question, read_options
from cai.records import Usage
from cai.seeds import seed_for

ASK_REASON = "{judge}\nFirst compare the replies in a sentence or two. Do not choose yet."
ASK_ANSWER = "Now answer with one letter, A or B."


def ask_reason(pair: str, judge_voice: str) -> str:
    """The first user message; the second is `ASK_ANSWER` as it stands."""
    return f"{pair}\n{ASK_REASON.replace('{judge}', judge_voice)}"


def clamp(p: float, low: float, high: float) -> float:
    """`p` moved to the nearer end of [low, high] where it lies outside."""
    return min(max(p, low), high)


async def answer(
    engine: Engine,
    question: Question,
    *,
    samples: int = 1,
    max_tokens: int = 64,
    temperature: float = 1.0,
    bounds: tuple[float, float] = (0.4, 0.6),
) -> Answer:
    """One reasoned answer clamped to `bounds`, or the mean of several; unread where any of them is."""
    shares: list[float] = []
    masses: list[float] = []
    raws: list[str] = []
    usage = Usage()
    for index in range(samples):
        asked = (Turn("user", ask_reason(question.text, question.voice)),)
        sampling = Sampling(seed_for(question.seed, "reason", index), temperature, max_tokens=max_tokens)
        reason = await engine.generate(asked, sampling)
        usage += reason.usage
        if not reason.text.strip():
            return Answer(None, "\n".join(raws), usage)
        turns = (*asked, Turn("assistant", reason.text, reason.token_ids), Turn("user", ASK_ANSWER))
        scores = await engine.option_logprobs(turns, LETTERS[:2])
        usage += scores.usage
        pair, mass, raw = read_options(scores, LETTERS[:2])
        raws.append(f"{reason.text}\n{raw}")
        if pair is None:
            return Answer(None, "\n".join(raws), usage, mass=mass)
        shares.append(pair[0])
        masses.append(mass)
    p = clamp(shares[0], *bounds) if samples == 1 else sum(shares) / samples
    return Answer(p, "\n".join(raws), usage, mass=min(masses))
