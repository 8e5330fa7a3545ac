"""What a reply is paid: sources of reward behind one interface, and the sum of them with every part visible.

A source scores samples one by one. What it cannot read is `None`: such a sample is left out of the update and counted;
it is never paid a number somebody made up. A number that is not finite stops the run and names the prompts.
"""

from __future__ import annotations

import importlib
import math
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cai.errors import CaiError, InputError
from cai.records import Prompt
from cai.train.rl.rollout import Sample


class Reward(Protocol):
    """A source of reward. The text half of a sample is all that a judge sees; a reward model reads its ids."""

    @property
    def name(self) -> str:
        """Under which it is logged."""
        ...

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        """One reward a sample, in order; `None` where the source could not tell."""
        ...


@runtime_checkable
class Comparing(Protocol):
    """A source that compares replies: its reward within a prompt's replies is zero on average, whatever they are.

    So an evaluation, which wants to see a rise, has it compare them with the replies of the first evaluation.
    """

    async def against(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float | None]:
        """How much better than `texts[i]` sample i is, in [-1, 1]; `None` where unread."""
        ...


class Preference(Comparing, Protocol):
    """A judge that compares replies to one prompt (self-play, online DPO)."""

    @property
    def name(self) -> str:
        """Under which it is logged."""
        ...

    async def wins(self, samples: Sequence[Sample]) -> list[list[float | None]]:
        """[K][K] probabilities that reply i beats reply j; `None` where unread, the diagonal is not looked at."""
        ...


class RewardFault(CaiError):
    """A reward is not a finite number: the run stops before it reaches the weights."""


@dataclass(frozen=True, slots=True)
class PythonReward:
    """A user's function `f(messages, reply) -> float | None`, named as `package.module:function`."""

    name: str
    function: Callable[[list[dict[str, str]], str], Any]

    @classmethod
    def load(cls, path: str) -> PythonReward:
        """Import the function, from the working directory too. Raises InputError where there is none."""
        module, _, attribute = path.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        remedy = "name it as package.module:function"
        try:
            function = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise InputError(f"no reward function {path!r}: {_told(error)}", remedy) from error
        if not callable(function):
            raise InputError(f"no reward function {path!r}: it is a {type(function).__name__}", remedy)
        return cls(path, function)

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._one(sample) for sample in samples]

    def _one(self, sample: Sample) -> float | None:
        try:
            value = self.function([m.model_dump() for m in sample.prompt.messages], sample.text)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{_told(error)} ({place.filename}:{place.lineno})"
            raise RewardFault(f"reward {self.name!r} failed on prompt {sample.prompt.id}: {what}") from error
        if value is None:
            return None
        if not hasattr(value, "__float__"):
            what = f"gave a {type(value).__name__} for prompt {sample.prompt.id}"
            raise RewardFault(f"reward {self.name!r} {what}; it must give a number, or None for what it cannot tell")
        return float(value)


def length_term(sample: Sample) -> float:
    """Tokens of the reply, its end token included."""
    return float(len(sample.reply_ids))


def missing_end_term(sample: Sample) -> float:
    """1 for a reply that was cut off, else 0."""
    return 0.0 if sample.ended else 1.0


def repetition_term(sample: Sample) -> float:
    """Share of the reply's 3-grams of tokens that occurred before in it."""
    grams = Counter(zip(sample.reply_ids, sample.reply_ids[1:], sample.reply_ids[2:], strict=False))
    total = sum(grams.values())
    return (total - len(grams)) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Payment:
    """What each sample is paid: the sum, and every part by name before its weight."""

    total: tuple[float | None, ...]
    parts: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class RewardSum:
    """Sources and terms with their weights; a cost has a negative weight."""

    sources: tuple[tuple[Reward, float], ...]
    terms: tuple[tuple[str, Callable[[Sample], float], float], ...] = field(default=())
    clip: float | None = None

    async def pay(self, samples: Sequence[Sample], first: Sequence[str] | None = None) -> Payment:
        """Score all samples by every source. Raises RewardFault naming the prompts of non-finite rewards.

        With `first`, the replies of the first evaluation, sources that compare do so with those.
        """
        columns: list[tuple[str, float, Sequence[float | None]]] = []
        for source, weight in self.sources:
            columns.append((source.name, weight, await score_with(source, samples, first)))
        for name, term, weight in self.terms:
            columns.append((name, weight, [term(sample) for sample in samples]))
        for name, _, values in columns:
            _refuse_non_finite(name, samples, values)
        if not columns:
            return Payment((0.0,) * len(samples), {})
        total: list[float | None] = []
        for row in zip(*(values for _, _, values in columns), strict=True):
            read = [weight * part for (_, weight, _), part in zip(columns, row, strict=True) if part is not None]
            total.append(self._clipped(math.fsum(read)) if len(read) == len(row) else None)
        return Payment(tuple(total), {name: tuple(values) for name, _, values in columns})

    def _clipped(self, value: float) -> float:
        return value if self.clip is None else min(max(value, -self.clip), self.clip)


async def score_with(source: Reward, samples: Sequence[Sample], first: Sequence[str] | None) -> list[float | None]:
    """The source's scores; where it compares and there are first replies, against those."""
    if first is not None and isinstance(source, Comparing):
        return await source.against(samples, first)
    return await source.score(samples)


def _refuse_non_finite(name: str, samples: Sequence[Sample], values: Sequence[float | None]) -> None:
    bad = [s.prompt for s, v in zip(samples, values, strict=True) if v is not None and not math.isfinite(v)]
    if bad:
        raise RewardFault(f"reward {name!r} is not finite for prompts {', '.join(_ids(bad))}; nothing was updated")


def _ids(prompts: Sequence[Prompt]) -> list[str]:
    return sorted({prompt.id for prompt in prompts})[:8]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
