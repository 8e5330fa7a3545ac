"""An engine that answers from a function and remembers what it was asked: for tests, and for timing all the rest."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cai.engine.protocol import Completion, ContextTooLong, OptionScores, OptionsUnsupported, Sampling, Turn
from cai.records import Usage
from cai.seeds import content_id

Answer = Callable[[tuple[Turn, ...], Sampling], str | Awaitable[str]]
Options = Callable[[tuple[Turn, ...], tuple[str, ...]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Call:
    """What one call asked for; `sampling` is None for `option_logprobs`, whose options are then in `options`."""

    turns: tuple[Turn, ...]
    sampling: Sampling | None
    prefill: str = ""
    options: tuple[str, ...] = ()


class ScriptedEngine:
    """Answers each conversation with `answer(turns, sampling)`, which may be a coroutine and may raise.

    A token is a word here: `count_tokens` counts the words of all turns and of `prefill`, and a reply is cut after
    `max_tokens` words. `options(turns, options)` gives log-probs; without it `option_logprobs` is unsupported.
    """

    def __init__(
        self,
        answer: Answer,
        options: Options | None = None,
        *,
        model: str = "scripted",
        context_length: int | None = None,
        remember: bool = True,
    ) -> None:
        self.model = model
        self.fingerprint = content_id("scripted", model)
        self.context_length = context_length
        self.calls: list[Call] = []
        self.closed = False
        self._answer, self._options, self._remember = answer, options, remember

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Words of all turns and of `prefill`."""
        return sum([_words(turn.content) for turn in turns]) + _words(prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """The function's answer, cut after `max_tokens` words."""
        tokens = self._admit(Call(turns, sampling, prefill))
        answer = self._answer(turns, sampling)
        text = await answer if inspect.isawaitable(answer) else answer
        words = text.split()
        cut = len(words) > sampling.max_tokens
        if cut:
            text = " ".join(words[: sampling.max_tokens])
        usage = Usage(calls=1, prompt_tokens=tokens, completion_tokens=min(len(words), sampling.max_tokens))
        return Completion(text, "length" if cut else "stop", usage)

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """The second function's log-probs, none of them bounded."""
        if self._options is None:
            raise OptionsUnsupported("the scripted engine was given no options function")
        tokens = self._admit(Call(turns, None, prefill, options))
        scores = tuple(float(score) for score in self._options(turns, options))
        return OptionScores(scores, (False,) * len(scores), Usage(calls=1, prompt_tokens=tokens))

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _admit(self, call: Call) -> int:
        if self._remember:
            self.calls.append(call)
        tokens = self.count_tokens(call.turns, call.prefill)
        if self.context_length is not None and tokens >= self.context_length:
            raise ContextTooLong(f"{tokens} words do not fit in a context of {self.context_length}")
        return tokens


@lru_cache(maxsize=1024)
def _words(text: str) -> int:
    """Words of a text; a chain asks with the same ones again and again."""
    return len(text.split())
