"""From a row's cells to a conversation that waits for a reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from cai.inputs.lines import LINE_LIMIT
from cai.inputs.transcripts import is_transcript, read_transcript
from cai.records import Message, Role

KNOWN_COLUMNS = (
    "messages",
    "conversations",
    "prompt",
    "chosen",
    "turns",
    "instruction",
    "question",
    "query",
    "goal",
    "prompts_final",
    "text",
)
"""Columns looked for, in this order, whatever their case, when none is named."""
CATEGORY_COLUMNS = ("category", "type")
_LISTS = ("messages", "conversations", "turns")
"""Columns whose cells are lists, in a CSV file as JSON; in others a bracket may be the start of a text."""
_EXTRA = {"instruction": ("input",)}
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "human": "user",
    "gpt": "assistant",
}


class CellProblem(Exception):
    """A cell is no conversation. `key` is its place within the row, `what` and `remedy` as in `InputError`."""

    def __init__(self, key: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.key, self.what, self.remedy = key, what, remedy


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with the user's; what had to be left out to get there is counted."""

    messages: tuple[Message, ...]
    reply_dropped: bool = False
    """The file's own last assistant turn, which is not part of the prompt."""
    turns_left_out: int = 0
    """Later user turns of a `turns` list: they need our reply to the first."""


def find_column(names: Sequence[str], column: str) -> str | None:
    """The column that holds the prompt: the named one, else the first known one."""
    if column:
        return column if column in names else None
    by_case = {name.lower(): name for name in reversed(names)}
    return next((by_case[known] for known in KNOWN_COLUMNS if known in by_case), None)


def wanted_columns(names: Sequence[str], column: str) -> list[str]:
    """The columns worth reading: prompt, what completes it, and category; empty where there is no prompt column."""
    found = find_column(names, column)
    if found is None:
        return []
    by_case = {name.lower(): name for name in reversed(names)}
    others = [by_case[name] for name in (*_EXTRA.get(found.lower(), ()), *CATEGORY_COLUMNS) if name in by_case]
    return list(dict.fromkeys([found, *others]))


def category_of(cells: Mapping[str, object]) -> str:
    """The row's own category, "" where it names none in a string."""
    for name in CATEGORY_COLUMNS:
        for key in (name, name.capitalize()):
            if isinstance(value := cells.get(key), str):
                return value
    return ""


def read_cell(cells: Mapping[str, object], column: str) -> Conversation:
    """The conversation in one row's prompt column. Raises `CellProblem`."""
    value = cells[column]
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _list_in_text(value, column)
    if isinstance(value, str):
        return _ending_with_user(_from_text(value, cells, column), column)
    if isinstance(value, list):
        entries = cast("list[object]", value)
        if entries and all(isinstance(entry, str) for entry in entries):
            first = (Message(role="user", content=cast(str, entries[0])),)
            _check(first, column)
            return Conversation(first, turns_left_out=len(entries) - 1)
        messages = tuple(_message(entry, f"{column}[{n}]") for n, entry in enumerate(entries))
        return _ending_with_user(messages, column)
    kind = "null" if value is None else type(value).__name__
    raise CellProblem(column, f"a prompt is a string or a list of messages, not {kind}", "mend or drop the row")


def _list_in_text(value: str, column: str) -> object:
    """A list of messages or turns written as JSON, as in a CSV cell; any other text is the text it is."""
    sure = column.lower() in _LISTS
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        if sure:
            raise CellProblem(column, f"not a JSON list of messages: {error}", "mend or drop the row") from error
        return value
    return found if sure or _are_messages(found) else value


def _are_messages(value: object) -> bool:
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return bool(entries) and all(isinstance(entry, dict) and {"role", "from"} & {*entry} for entry in entries)


def _from_text(text: str, cells: Mapping[str, object], column: str) -> tuple[Message, ...]:
    if is_transcript(text):
        return read_transcript(text)
    extra = [cells[name] for name in _EXTRA.get(column.lower(), ()) if name in cells]
    parts = [text, *(part for part in extra if isinstance(part, str) and part.strip())]
    return (Message(role="user", content="\n\n".join(parts)),)


def _message(entry: object, key: str) -> Message:
    if not isinstance(entry, dict):
        raise CellProblem(key, "a message is an object", 'write it as {"role": "user", "content": "…"}')
    fields = cast("dict[str, object]", entry)
    role = fields.get("role", fields.get("from"))
    content = fields.get("content", fields.get("value"))
    if not isinstance(role, str) or role not in _ROLES:
        raise CellProblem(f"{key}.role", f"unknown role {role!r}", "use system, user or assistant")
    if not isinstance(content, str):
        raise CellProblem(f"{key}.content", "a message's content is a string", "only text is understood")
    return Message(role=_ROLES[role], content=content)


def _ending_with_user(messages: tuple[Message, ...], column: str) -> Conversation:
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    _check(messages[:end], column)
    return Conversation(messages[:end], reply_dropped=end < len(messages))


def _check(messages: tuple[Message, ...], column: str) -> None:
    if not messages or messages[-1].role != "user":
        raise CellProblem(column, "no user turn to answer", "end the conversation with a user's message")
    if not messages[-1].content.strip():
        raise CellProblem(column, "the prompt is empty", "fill or drop the row")
    if any(message.role == "system" for message in messages[1:]):
        raise CellProblem(column, "a system message after the first turn", "put it first")
    if sum(len(message.content) for message in messages) > LINE_LIMIT:
        raise CellProblem(column, f"longer than {LINE_LIMIT:,} characters", "split or drop the row")
    for message in messages:
        try:
            message.content.encode("utf-8")
        except UnicodeEncodeError as error:
            what = f"half a surrogate pair at character {error.start + 1}"
            raise CellProblem(column, what, "write the text as valid Unicode") from error
