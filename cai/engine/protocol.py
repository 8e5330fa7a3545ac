"""What a stage asks of a model: generate a reply, and score given options after a conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from cai.errors import CaiError, RecordFault
from cai.errors import EngineDown as EngineDown
from cai.errors import EngineFault as EngineFault
from cai.records import Message, Role, Usage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the engine sees it.

    `token_ids` are the ids the same engine produced for this text; a local engine reuses them, so that a later turn
    of the chain starts with exactly the tokens already in its prefix cache.
    `trusted` says that the text is ours; special tokens written in an untrusted text stay plain text.
    """

    role: Role
    content: str
    token_ids: tuple[int, ...] = ()
    trusted: bool = False

    @classmethod
    def of(cls, message: Message) -> Turn:
        return cls(message.role, message.content)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw one reply. The seed belongs to the record; temperature 0 is greedy."""

    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    logprobs: bool = False
    """Ask for the log-prob of each produced token at the sampling temperature (reinforcement learning)."""
    choices: tuple[str, ...] = ()
    """The reply should be one of these. Only a server that is told how (`engine.openai.structured`) is held to it, so
    whoever asks reads the reply as it comes."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply. `token_ids` are the tokens of `text`, without the end token; empty where the engine does not tell."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
    token_ids: tuple[int, ...] = ()
    end_id: int | None = None
    """The end token that the model drew, where it stopped by itself and the engine tells."""
    logprobs: tuple[float, ...] | None = None
    """If asked for: one per token id, and a last one for the end token where there is an `end_id`."""


@dataclass(frozen=True, slots=True)
class OptionScores:
    """Natural log-probs over the full vocabulary that the answer starts with each option, in the order asked.

    Token variants of an option ("A", " A") are summed. Where a server shows only its top k, an option that is missing
    is bounded by the k-th log-prob and its entry in `bounded` is True.
    """

    logprobs: tuple[float, ...]
    bounded: tuple[bool, ...]
    usage: Usage


class Engine(Protocol):
    """A model that answers. Methods may be awaited by many chains at once; the engine does the batching.

    The result of a call depends on its arguments alone: not on what else runs, nor on order or concurrency.
    """

    model: str
    """What the user named: a folder, a hub name, a served name."""
    fingerprint: str
    """Model, revision and chat template in one hash: part of every record id."""
    context_length: int | None
    """Most tokens in prompt and reply together; None where the server does not tell."""

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens of the rendered conversation, with the generation prompt and `prefill` (the reply's given start)."""
        ...

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply; its text does not repeat `prefill`. Raises `ContextTooLong`, `EngineFault`, `EngineDown`."""
        ...

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Score each option as the start of the answer after `prefill`. Raises `OptionsUnsupported` and as above."""
        ...

    async def close(self) -> None:
        """Free the model, threads and connections; calling it twice is harmless."""
        ...


class TrainableEngine(Engine, Protocol):
    """A local engine whose weights follow a trainer's (reinforcement learning)."""

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """The token ids that `generate` would feed the model for this conversation."""
        ...

    async def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights by name, as `transformers` names them, between two steps; drops every cached prefix."""
        ...


@runtime_checkable
class Resting(Protocol):
    """An engine that can lend its GPU's memory to the trainer it shares it with."""

    async def rest(self) -> None:
        """Give up the memory once the requests made before are done; nothing may be asked until `wake`."""
        ...

    async def wake(self) -> None:
        """Take the memory back; the weights are those of before, or are to be updated next."""
        ...


class ContextTooLong(RecordFault):
    """Prompt and reply do not fit in the model's context."""


class OptionsUnsupported(CaiError):
    """The engine cannot give log-probs of options; a mode that reads words is needed."""

    exit_code = 2
