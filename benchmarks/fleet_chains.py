"""What a chain asks of its engine, call by call: prompt tokens, those computed before, reply lengths. Pure arithmetic.

Four layouts of the prompt are known, to show what each is worth to a prefix cache:

- `ours`: few-shots, conversation, reply, critique request, critique, revision request; each round starts again from the
  conversation with the new reply, and the draft carries no few-shots (`cai/critique/prompts.py`);
- `one chat`: few-shots first, then everything that was ever said; nothing is taken back, so the context grows;
- `few-shots last`: as ours, but the few-shots stand between the reply and the request;
- `principle first`: as ours, but the request stands before the few-shots, so each principle has its own prefix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Call:
    """One request, in tokens. What it shares with others stands at its start."""

    prompt: int
    shared: int
    """Leading tokens that are the same in other chains."""
    kept: int
    """Leading tokens that earlier calls of the same chain have computed, drawn or read."""
    reply: int
    turns: int = 1
    """Of the conversation. Where requests wait, the one with the most goes first."""

    def cached(self, *, chain_is_kept: bool, block: int) -> int:
        """Prompt tokens found in the cache: whole blocks of the longer known start, but never the last token."""
        known = max(self.shared, self.kept if chain_is_kept else 0)
        return min(known, self.prompt - 1) // block * block


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of the parts of a prompt."""

    question: int
    few_shots: int
    critique_request: int
    revise_request: int


Lengths = Sequence[int]
"""Reply lengths of a chain: draft, then critique and revision of each round."""
Layout = Callable[[Sizes, Lengths], list[Call]]


def ours(sizes: Sizes, lengths: Lengths) -> list[Call]:
    """The layout of `cai critique`."""
    few, question = sizes.few_shots, sizes.question
    calls, reply = [Call(question, 0, 0, lengths[0])], lengths[0]
    for at in range(1, len(lengths), 2):
        first = at == 1
        # The draft's own prefix has no few-shots before it: where there are some, it is of no use to the critique.
        kept = (question + reply if not few else 0) if first else few + question
        asked = few + question + reply + sizes.critique_request
        calls.append(Call(asked, few, kept, lengths[at], 3))
        known = asked + lengths[at]
        calls.append(Call(known + sizes.revise_request, few, known, lengths[at + 1], 5))
        reply = lengths[at + 1]
    return calls


def one_chat(sizes: Sizes, lengths: Lengths) -> list[Call]:
    """Everything said so far, then the next request."""
    asked, known, calls = sizes.few_shots + sizes.question, 0, list[Call]()
    for at, length in enumerate(lengths):
        if at:
            asked = known + (sizes.critique_request if at % 2 else sizes.revise_request)
        calls.append(Call(asked, sizes.few_shots, known, length, 1 + 2 * at))
        known = asked + length
    return calls


def few_shots_last(sizes: Sizes, lengths: Lengths) -> list[Call]:
    """The few-shots after the reply: the same text, but at another place in every prompt."""
    question = sizes.question
    calls, reply = [Call(question, 0, 0, lengths[0])], lengths[0]
    for at in range(1, len(lengths), 2):
        kept = question + reply if at == 1 else question
        asked = question + reply + sizes.few_shots + sizes.critique_request
        calls.append(Call(asked, 0, kept, lengths[at], 3))
        known = asked + lengths[at]
        calls.append(Call(known + sizes.revise_request, 0, known, lengths[at + 1], 5))
        reply = lengths[at + 1]
    return calls


def principle_first(sizes: Sizes, lengths: Lengths) -> list[Call]:
    """The request before the few-shots: shared by the chains that drew the same principle, by no two rounds."""
    question, start = sizes.question, sizes.critique_request + sizes.few_shots
    calls, reply = [Call(question, 0, 0, lengths[0])], lengths[0]
    for at in range(1, len(lengths), 2):
        asked = start + question + reply
        calls.append(Call(asked, start, 0, lengths[at], 3))
        known = asked + lengths[at]
        calls.append(Call(known + sizes.revise_request, start, known, lengths[at + 1], 5))
        reply = lengths[at + 1]
    return calls


LAYOUTS: dict[str, Layout] = {
    "ours": ours,
    "one chat": one_chat,
    "few-shots last": few_shots_last,
    "principle first": principle_first,
}


def hit_rate(chains: Sequence[Sequence[Call]], *, block: int, chain_is_kept: bool = True) -> float:
    """Share of prompt tokens that a cache of endless (or, without `chain_is_kept`, of little) memory answers."""
    calls = [call for chain in chains for call in chain]
    cached = sum(call.cached(chain_is_kept=chain_is_kept, block=block) for call in calls)
    return cached / sum(call.prompt for call in calls)


def computed(chain: Sequence[Call], *, block: int) -> tuple[int, int, float]:
    """Of one chain: prompt tokens computed, tokens drawn, and token pairs read by drawing (length times context)."""
    return (
        sum(call.prompt - call.cached(chain_is_kept=True, block=block) for call in chain),
        sum(call.reply for call in chain),
        sum(call.reply * (call.prompt + (call.reply - 1) / 2) for call in chain),
    )


def heavy_tailed(random: Random, *, mean: float, sigma: float, most: int) -> int:
    """A log-normal reply length from 1 to `most`; `mean` is the mean before the cut, `sigma` that of the logarithm."""
    drawn = random.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)
    return max(1, min(most, round(drawn)))


def made_chains(
    count: int, layout: Layout, sizes: Sizes, *, rounds: int, mean: float, sigma: float, most: int, seed: int = 0
) -> list[list[Call]]:
    """`count` chains. Lengths belong to a chain's number: another layout or fleet sees the same chains."""
    chains = list[list[Call]]()
    for number in range(count):
        random = Random(f"{seed}-{number}")
        lengths = [heavy_tailed(random, mean=mean, sigma=sigma, most=most) for _ in range(1 + 2 * rounds)]
        chains.append(layout(sizes, lengths))
    return chains
