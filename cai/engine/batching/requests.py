"""What runs in a slot: a reply being drawn, or positions being scored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from cai.engine.batching.prefixes import ROOT, Key
from cai.engine.protocol import Sampling


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished reply: its tokens without the end token, which is `end_id` if the model drew one."""

    token_ids: tuple[int, ...]
    end_id: int | None
    logprobs: tuple[float, ...]
    cached: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probs of the tokens asked for, per position."""

    logprobs: tuple[tuple[float, ...], ...]
    cached: int


@dataclass(eq=False, slots=True)
class Request:
    """Common state: `ids` known so far, of which `done` have keys and values in `slot`."""

    ids: list[int]
    future: Future
    first_logits: int
    """The first position whose logits are needed."""
    room: int
    """Most tokens it can come to hold."""
    slot: int = -1
    done: int = 0
    cached: int = 0
    path: list[Key] = field(default_factory=list)
    """Keys of the pieces of its prefix that are remembered."""
    node: int = ROOT
    """Number of the last of them."""


@dataclass(eq=False, slots=True)
class Drawing(Request):
    """A reply being drawn; tokens beyond `prompt` are its own."""

    sampling: Sampling = field(default_factory=lambda: Sampling(0))
    prompt: int = 0
    logprobs: list[float] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.Generator(np.random.Philox(key=0)))

    def take(self, token: int, logprob: float, ends: frozenset[int]) -> Drawn | None:
        """Add a drawn token; the finished reply if it ends there."""
        self.logprobs.append(logprob)
        if token in ends:
            return self._finished(token)
        self.ids.append(token)
        return self._finished(None) if len(self.ids) == self.room else None

    def _finished(self, end_id: int | None) -> Drawn:
        return Drawn(tuple(self.ids[self.prompt :]), end_id, tuple(self.logprobs), self.cached)


@dataclass(eq=False, slots=True)
class Scoring(Request):
    """Positions from `first_logits` on being scored: `wanted` holds the tokens asked for at each."""

    wanted: Sequence[tuple[int, ...]] = ()
    scores: list[tuple[float, ...]] = field(default_factory=list)


def drawing(ids: Sequence[int], sampling: Sampling, context: int) -> Drawing:
    """A request for a reply, cut at the end of the context."""
    return Drawing(
        list(ids),
        Future(),
        first_logits=len(ids) - 1,
        room=min(len(ids) + sampling.max_tokens, context),
        sampling=sampling,
        prompt=len(ids),
        random=np.random.Generator(np.random.Philox(key=sampling.seed)),
    )


def scoring(ids: Sequence[int], wanted: Sequence[tuple[int, ...]]) -> Scoring:
    """A request for the log-probs of `wanted` tokens after each of the last `len(wanted)` positions."""
    return Scoring(list(ids), Future(), first_logits=len(ids) - len(wanted), room=len(ids), wanted=tuple(wanted))
