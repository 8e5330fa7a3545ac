"""A conversation as token ids, built from segments so that a longer chain starts with the ids of a shorter one.

The chat template is rendered once per sequence of roles, with marks in place of the contents, and cut at the marks.
Its own pieces are tokenised with special tokens, contents without: `<|im_end|>` written by a user stays plain text.
Contents that the model itself produced keep the ids it produced.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

from cai.engine.protocol import RecordFault, Turn
from cai.errors import InputError, Where
from cai.records import Role

FIXED = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""Given to every template: the date some of them print, or a run would change overnight, and no hidden reasoning."""

PROBE = (
    Turn("user", "Is it 12:30 in Zürich?\n\tYes — or  no… <b> 東京 🙂"),
    Turn("assistant", " I don't know; perhaps."),
    Turn("user", "Then ask (politely) again!"),
)
"""A conversation that engines of one model must all read as the same tokens."""


class Tokenizer(Protocol):
    """What is used of a `transformers` tokenizer."""

    all_special_ids: list[int]
    unk_token_id: int | None
    eos_token_id: int | None
    added_tokens_decoder: dict[int, Any]
    chat_template: Any

    def __call__(self, text: str, **kwargs: Any) -> Any: ...
    def decode(self, token_ids: Any, **kwargs: Any) -> Any: ...
    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


class ChatRenderer:
    """Renders turns for one tokenizer and its chat template."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.tokenizer, self.name = tokenizer, name
        self._controls = _control_tokens(tokenizer)
        self._anchor_ids, self._anchor_text = self._find_anchor()
        self._pieces = lru_cache(maxsize=1024)(self._render_pieces)
        self.plain_ids = lru_cache(maxsize=4096)(self._tokenise_plain)
        # Each reply is decoded when it is drawn, and again for every later turn that it is part of.
        self.decode = lru_cache(maxsize=4096)(self._text_of)
        self._template_ids = lru_cache(maxsize=4096)(self._tokenise_template)
        try:
            self._pieces(("user",))
        except RecordFault as error:
            raise InputError(f"the chat template of {name} does not work: {error}", "repair it") from error

    def prompt_ids(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        """Ids of the conversation, the generation prompt and `prefill`. Raises RecordFault if the template refuses."""
        pieces, trims = self._pieces(tuple(turn.role for turn in turns))
        ids: list[int] = list(self._template_ids(pieces[0], first=True))
        for turn, trim, piece in zip(turns, trims, pieces[1:], strict=True):
            ids += self._content_ids(turn, trim)
            ids += self._template_ids(piece, first=False)
        if prefill:
            ids += self.plain_ids(prefill)
        return tuple(ids)

    def text(self, turns: tuple[Turn, ...], prefill: str = "") -> str:
        """The same conversation as text, for servers that take a text. Special tokens in it cannot be told apart."""
        pieces, trims = self._pieces(tuple(turn.role for turn in turns))
        parts = [pieces[0]]
        for turn, trim, piece in zip(turns, trims, pieces[1:], strict=True):
            parts += [turn.content.strip() if trim else turn.content, piece]
        return "".join(parts) + prefill

    def whole_ids(self, turns: tuple[Turn, ...]) -> tuple[int, ...]:
        """Ids of that text tokenised in one piece, as a server does it."""
        return self._encode(self.text(turns))

    def _text_of(self, ids: tuple[int, ...]) -> str:
        """The text of produced ids, its leading space kept; special tokens are left out."""
        text = self._decode((*self._anchor_ids, *ids), skip_special_tokens=True)
        return text[len(self._anchor_text) :] if text.startswith(self._anchor_text) else self._decode(ids)

    def option_ids(self, option: str) -> tuple[tuple[int, ...], ...]:
        """The different token sequences that spell `option` as the start of an answer: A, " A", "(A" and " (A"."""
        variants = dict.fromkeys(self.plain_ids(before + option) for before in ("", " ", "(", " ("))
        return tuple(ids for ids in variants if ids)

    def _content_ids(self, turn: Turn, trim: bool) -> tuple[int, ...]:
        ids = turn.token_ids
        # A special token the model drew in mid-reply must not act as one when it is read back.
        if ids and self._controls.keys().isdisjoint(ids) and self.decode(ids) == turn.content:
            return ids
        return self.plain_ids(turn.content.strip() if trim else turn.content)

    def _tokenise_plain(self, text: str) -> tuple[int, ...]:
        """Ids of `text` in mid-conversation, none of which acts as a special token."""
        ids = self._encode_inside(text, split_special_tokens=True)
        if self._controls.keys().isdisjoint(ids):
            return ids
        # Some vocabularies hold their special tokens as ordinary pieces too: spell those in parts.
        spelled = sorted(set(self._controls.values()), key=len, reverse=True)
        found = re.split("|".join(f"(?<={re.escape(word[0])})(?={re.escape(word[1:])})" for word in spelled), text)
        ids = tuple(token for part in found for token in self._encode_inside(part, split_special_tokens=True))
        if not self._controls.keys().isdisjoint(ids):
            raise RecordFault("the text holds a special token of the model that cannot be written as plain text")
        return ids

    def _encode_inside(self, text: str, **kwargs: Any) -> tuple[int, ...]:
        """Ids of a text that does not stand at the start."""
        try:
            ids = self._encode(self._anchor_text + text, **kwargs)
            length = len(self._anchor_ids)
            return ids[length:] if ids[:length] == self._anchor_ids else self._encode(text, **kwargs)
        except (TypeError, UnicodeError) as error:
            raise RecordFault(f"the text cannot be tokenised: {error}") from error

    def _tokenise_template(self, piece: str, *, first: bool) -> tuple[int, ...]:
        return self._encode(piece) if first else self._encode_inside(piece)

    def _encode(self, text: str, **kwargs: Any) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False, **kwargs)["input_ids"])

    def _decode(self, ids: tuple[int, ...], **kwargs: Any) -> str:
        kwargs = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False, **kwargs}
        return cast(str, self.tokenizer.decode(list(ids), **kwargs))

    def _find_anchor(self) -> tuple[tuple[int, ...], str]:
        """A text to put before every segment where the tokenizer adds a space at the start of a text."""
        for anchor in ("\n", ".", "a"):
            ids = self._encode(anchor)
            whole = self._encode(anchor + "b")
            if whole == ids + self._encode("b"):
                return (), ""
            if whole[: len(ids)] == ids and self._decode(ids) == anchor:
                return ids, anchor
        return (), ""

    def _render_pieces(self, roles: tuple[Role, ...]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        """The template's text around the contents, one more than there are roles, and which contents it strips."""
        marks = [f"zq{index}content{index}qz" for index in range(len(roles))]
        bare = self._cut(self._apply_template(roles, marks), marks)
        spaced = self._cut(self._apply_template(roles, [f" {mark} " for mark in marks]), marks)
        trims = list[bool]()
        for with_space, without in zip(spaced, bare[:-1], strict=False):
            # A piece grows by the kept space of the content before it and by that of the content after it.
            kept_before = int(bool(trims) and not trims[-1])
            trims.append(len(with_space) - len(without) - kept_before < 1)
        return bare, tuple(trims)

    def _apply_template(self, roles: tuple[Role, ...], contents: list[str]) -> str:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **FIXED)
        except Exception as error:
            # A template may raise anything; its message is the reason.
            raise RecordFault(f"the chat template of {self.name} refuses this conversation: {error}") from error
        return cast(str, text)

    def _cut(self, text: str, marks: list[str]) -> tuple[str, ...]:
        """The text between the marks. Raises RecordFault where the template left a content out or repeated it."""
        pieces = list[str]()
        for mark in marks:
            if text.count(mark) != 1:
                raise RecordFault(f"the chat template of {self.name} does not show every turn exactly once")
            piece, _, text = text.partition(mark)
            pieces.append(piece)
        return (*pieces, text)


def check_adapter(renderer: ChatRenderer, adapter: str) -> None:
    """Raise InputError where an adapter's folder holds a tokenizer or template that reads otherwise than the model's.

    It was then trained on other tokens than it would be asked with.
    """
    if not adapter or not (Path(adapter) / "tokenizer_config.json").is_file():
        return
    from transformers import AutoTokenizer

    own: Any = AutoTokenizer.from_pretrained(adapter)
    if own.chat_template and ChatRenderer(own, adapter).whole_ids(PROBE) != renderer.whole_ids(PROBE):
        what = f"the adapter {adapter} has another tokenizer or chat template than {renderer.name}"
        raise InputError(what, "use it on the model that it was trained on", Where("engine.adapter"))


def end_ids(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> frozenset[int]:
    """Every token that ends a reply, by the model's settings, its generation settings and its tokenizer."""
    file = folder / "generation_config.json"
    generation: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    stated = [generation.get("eos_token_id"), config.get("eos_token_id"), tokenizer.eos_token_id]
    flat = [token for part in stated for token in (part if isinstance(part, list) else [part])]
    return frozenset(token for token in flat if isinstance(token, int))


def _control_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """Id and text of the tokens no untrusted text may produce: special ones, and added ones the template writes."""
    template = str(tokenizer.chat_template)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    texts = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    return {
        number: text
        for number, text in texts.items()
        if len(text) > 1 and (number in special or (number != tokenizer.unk_token_id and text in template))
    }
