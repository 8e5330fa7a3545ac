"""Mode `list`: all replies at once, either ranked in words or the best one chosen by its letter's log-prob."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cai.engine.protocol import Engine, Sampling, Turn
from cai.judge.prompts import LETTERS, many_text
from cai.judge.question import read_options
from cai.records import Prompt, Usage

ASK_RANK = "{judge}\nRank all replies, best first. Answer with their letters only, > between them, = between equals."
ASK_BEST = "{judge}\nAnswer with one letter, that of the best reply."

_ITEM = r"[(\[*]*[A-P][)\]*]*"
_CHAIN = re.compile(rf"(?<![\w'])(?:(?i:reply)\s+)?{_ITEM}(?:\s*(?:>+|=|,|\s)\s*(?:(?i:reply)\s+)?{_ITEM})*(?![\w'])")
_NUMBERED = re.compile(rf"^\s*\d+\s*[.):]\s*(?:(?i:reply)\s+)?({_ITEM})\s*[.;,]?\s*$", re.MULTILINE)
_STEP = re.compile(r"([A-P])|(=)")


@dataclass(frozen=True, slots=True)
class Ranking:
    """`ranks[i]` is the 0-based place of the i-th reply shown, equal for ties; None where the answer was unread."""

    ranks: tuple[int, ...] | None
    raw: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Choice:
    """`shares[i]` is the probability that the i-th reply shown is the best; None where the judge named no letter."""

    shares: tuple[float, ...] | None
    mass: float
    raw: str
    usage: Usage


def ask_rank(many: str, judge_voice: str) -> str:
    """The whole user message; `many` is the text of `prompts.many_text`. An answer looks like `C > A = D > B`."""
    return f"{many}\n{ASK_RANK.replace('{judge}', judge_voice)}"


def ask_best(many: str, judge_voice: str) -> str:
    """The whole user message of the best-of-K question."""
    return f"{many}\n{ASK_BEST.replace('{judge}', judge_voice)}"


def read_ranking(text: str, K: int) -> tuple[int, ...] | None:
    """The place of each of the K letters; None unless exactly one chain or numbered list names each of them once."""
    chains = [match[0] for match in _CHAIN.finditer(text)]
    numbered = _NUMBERED.findall(text)
    if len(numbered) > 1:
        chains = [" > ".join(numbered)]
    found = {ranks for chain in chains if (ranks := _ranks(chain, K)) is not None}
    return found.pop() if len(found) == 1 and _only(chains, K) else None


def _ranks(chain: str, K: int) -> tuple[int, ...] | None:
    """Places by letter of one chain that names each of the first K letters exactly once."""
    place, tied, places = -1, False, dict[str, int]()
    for letter, equal in _STEP.findall(re.sub(r"(?i:reply)", "", chain)):
        if equal:
            tied = True
        elif letter in places:
            return None
        else:
            place += 0 if tied else 1
            places[letter], tied = place, False
    if sorted(places) != list(LETTERS[:K]):
        return None
    return tuple(places[letter] for letter in LETTERS[:K])


def _only(chains: Sequence[str], K: int) -> bool:
    """Whether no second chain of several letters contradicts the full one."""
    return sum(len(re.findall(r"\b[A-P]\b", chain)) > 1 for chain in chains) == 1 or K == 1


async def rank(
    engine: Engine,
    prompt: Prompt,
    replies: Sequence[str],
    voice: str,
    fence: str,
    *,
    seed: int,
    temperature: float = 0.0,
) -> Ranking:
    """The judge's ranking of the replies in the order shown."""
    turns = (Turn("user", ask_rank(many_text(prompt, replies, fence), voice)),)
    said = await engine.generate(turns, Sampling(seed, temperature, max_tokens=8 * len(replies)))
    return Ranking(read_ranking(said.text, len(replies)), said.text, said.usage)


async def best(engine: Engine, prompt: Prompt, replies: Sequence[str], voice: str, fence: str) -> Choice:
    """The probability of each reply shown to be the best of all."""
    options = LETTERS[: len(replies)]
    turns = (Turn("user", ask_best(many_text(prompt, replies, fence), voice)),)
    scores = await engine.option_logprobs(turns, options)
    shares, mass, raw = read_options(scores, options)
    return Choice(shares, mass, raw, scores.usage)
