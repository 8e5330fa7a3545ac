"""Examples as token ids, made by the same rendering that the engines sample with.

A reply is its text's tokens (special tokens written in it stay plain text) and the token that ends a turn, which is
scored too: a model that is never trained to stop does not. Nothing after that token is trained on, because nothing
after it is ever sampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from cai.engine.protocol import Turn
from cai.engine.render import ChatRenderer
from cai.errors import InputError
from cai.train.batches import Group
from cai.train.examples import Example


@dataclass(frozen=True, slots=True)
class Tokenised:
    """An example ready to be laid out: its replies in the order of `example.replies`, then a third one if asked for."""

    example: Example
    group: Group
    cut: bool = False

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest reply."""
        return len(self.group.prompt) + max(len(r) for r in self.group.replies)

    @property
    def differs(self) -> bool:
        """Whether the replies that are compared are different as tokens, too."""
        compared = self.group.replies[: len(self.example.replies)]
        return len(set(compared)) == len(compared)


@dataclass(frozen=True, slots=True)
class ReplyTokeniser:
    """Prompts and replies to ids, for one tokenizer and chat template."""

    renderer: ChatRenderer
    end: int
    """The id that ends an assistant's turn."""

    @classmethod
    def of(cls, tokenizer: Any, name: str, end_ids: Iterable[int] = ()) -> ReplyTokeniser:
        """Find the token that ends a turn: the first known end token that the template writes after a reply."""
        renderer = ChatRenderer(tokenizer, name)
        known = {*end_ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])}
        turns = (Turn("user", "a"),)
        prompt = renderer.prompt_ids(turns)
        whole = renderer.prompt_ids((*turns, Turn("assistant", "b")))
        after = whole[len(prompt) :] if whole[: len(prompt)] == prompt else ()
        end = next((i for i in after if i in known), tokenizer.eos_token_id)
        if end is None:
            raise InputError(f"the tokenizer of {name} has no end-of-text token", "set eos_token in its configuration")
        return cls(renderer, end)

    def __call__(self, example: Example, third: str = "") -> Tokenised:
        prompt = self.renderer.prompt_ids(tuple(Turn.of(m) for m in example.prompt.messages))
        texts = (*example.replies, third) if third else example.replies
        return Tokenised(example, Group(prompt, tuple((*self.renderer.plain_ids(t), self.end) for t in texts)))


def fit(item: Tokenised, limit: int, policy: Literal["drop", "cut", "refuse"]) -> Tokenised | None:
    """The example if it fits in `limit` tokens; else what `policy` says: None, shorter replies, or InputError.

    A cut reply loses its end-of-turn token with its end: the model is not taught to stop in mid-sentence.
    """
    if item.longest <= limit:
        return item
    if policy == "refuse":
        raise InputError(
            f"{item.example.id} has {item.longest} tokens, {limit} fit",
            "set train.too_long to `drop` or `cut`, or raise train.max_length",
        )
    room = limit - len(item.group.prompt)
    if policy == "drop" or room < 1:
        return None
    return Tokenised(item.example, Group(item.group.prompt, tuple(r[:room] for r in item.group.replies)), cut=True)
