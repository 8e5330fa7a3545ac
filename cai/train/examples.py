"""Training examples from the files that `cai critique`, `cai label` and `cai sample` write, or anything of their
columns.

Supervised: `messages` (the last one is the reply), or `prompt` and `completion`. Preferences: `prompt`, `chosen`,
`rejected` and `p_chosen` (1 where no row has one, refused where some have); both replies may begin with the prompt, as
in UltraFeedback, and without a `prompt` they must, as in HH-RLHF. Best of K: `prompt`, `replies` and `p_best`. Messages
are lists of {role, content}, or one text. Every problem is found before a model loads and names its file and row.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from cai.errors import InputError, InputErrors, Where
from cai.inputs.transcripts import is_transcript, read_transcript
from cai.records import Message, Prompt, Role
from cai.train.example_rows import example_rows

Shape = Literal["sft", "pairs", "lists"]
COLUMNS: dict[Shape, str] = {
    "sft": "`messages`, or `prompt` and `completion`",
    "pairs": "`chosen`, `rejected`, `prompt` unless both begin with it, and, for soft labels, `p_chosen`",
    "lists": "`prompt`, `replies` and `p_best`",
}
OPTIONAL = ("p_chosen", "margin")
"""Columns that every row of a file has or none: an empty cell would be a number nobody stated."""
TRANSCRIPTS = ("prompt", "chosen", "rejected")
"""Columns whose text may be a whole conversation, as HH-RLHF writes it."""
MOST_PROBLEMS = 10
_HALF = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, which JSON can write and UTF-8 cannot."""
_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, its replies, and how probable it is that each reply is the best one (1 for a supervised reply)."""

    id: str
    """File and row: `sft.parquet:12`, told when a batch goes wrong."""
    prompt: Prompt
    replies: tuple[str, ...]
    target: tuple[float, ...]
    constitution: str = ""
    margin: float | None = None
    supervised: str = ""
    """A supervised reply to the same prompt, where the data has one (SLiC's calibration target)."""
    round: int = 0
    """How many revisions the supervised reply went through."""
    revisions: tuple[str, ...] = ()
    """All revised replies of its chain, in order, where the file has the chain."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its name and the sha256 of its bytes."""

    path: Path
    sha256: str
    rows: int
    skipped: int = 0
    """Rows that could not be read and were left out."""


class _Bad(Exception):
    """What is wrong with one row."""


def read_examples(path: Path, shape: Shape, *, skip_bad_rows: bool = False) -> tuple[list[Example], Source]:
    """All examples of a Parquet or JSONL file. Raises InputErrors naming the first bad rows unless they are skipped."""
    count, examples, problems = 0, list[Example](), list[InputError]()
    optional: frozenset[str] | None = None
    for number, row in example_rows(path):
        count += 1
        if optional is None and isinstance(row, dict):
            _check_columns(path, row, shape)
            optional = frozenset(name for name in OPTIONAL if row.get(name) is not None)
        try:
            if isinstance(row, str):
                raise _Bad(row)
            _same_columns(row, shape, optional or frozenset())
            examples.append(_READERS[shape](row, f"{path.name}:{number}"))
        except _Bad as bad:
            problems.append(InputError(str(bad), "", Where(path, number)))
            if len(problems) == MOST_PROBLEMS and not skip_bad_rows:
                break
    if problems and not (skip_bad_rows and examples):
        remedy = "mend these rows, or go on without them: train.skip_bad_rows=true"
        raise InputErrors([*problems[:MOST_PROBLEMS], InputError(remedy, "", Where(path))])
    if not examples:
        raise InputError("the file holds no rows", "give one with at least one example", Where(path))
    with path.open("rb") as file:
        return examples, Source(path, hashlib.file_digest(file, "sha256").hexdigest(), count, len(problems))


def _fits(names: set[str], shape: Shape) -> bool:
    """Whether a row of these columns can be read as `shape`."""
    match shape:
        case "sft":
            return "messages" in names or {"prompt", "completion"} <= names
        case "pairs":
            return {"chosen", "rejected"} <= names
        case "lists":
            return {"prompt", "replies", "p_best"} <= names


def _check_columns(path: Path, row: dict[str, Any], shape: Shape) -> None:
    """Raise InputError where the first row is of another kind of file."""
    names = set(row)
    if not _fits(names, shape):
        others = [s for s in COLUMNS if _fits(names, s)]
        hint = f"it looks like data for {' or '.join(others)}" if others else f"it has {', '.join(sorted(names)[:12])}"
        raise InputError(f"this training needs the columns {COLUMNS[shape]}", hint, Where(path))


def _same_columns(row: dict[str, Any], shape: Shape, optional: frozenset[str]) -> None:
    """Raise _Bad where a row has fewer columns than the training needs, or not the optional ones of the first row."""
    if not _fits(set(row), shape):
        raise _Bad(f"the row lacks columns: it needs {COLUMNS[shape]}")
    for name in OPTIONAL if shape == "pairs" else ():
        if (row.get(name) is not None) != (name in optional):
            raise _Bad(f"`{name}` stands in some rows and not in others")


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    """Messages of a cell: a list of {role, content}, or a text, which is a user's turn, a reply or a transcript."""
    if isinstance(value, str) and column in TRANSCRIPTS and is_transcript(value):
        value = [message.model_dump() for message in read_transcript(value)]
    elif isinstance(value, str):
        value = [{"role": "user" if column == "prompt" else "assistant", "content": value}]
    if not isinstance(value, list) or not value:
        raise _Bad(f"`{column}` is not a list of messages")
    found = list[Message]()
    for turn in value:
        said, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        role = _ROLES.get(str(said))
        if role is None:
            raise _Bad(f"`{column}` has a message of role {said!r}; the roles are {', '.join(_ROLES)}")
        if not isinstance(content, str):
            raise _Bad(f"`{column}` has a message without text")
        if _HALF.search(content):
            raise _Bad(f"`{column}` holds half a surrogate pair, which no tokenizer reads")
        found.append(Message(role=role, content=content))
    return tuple(found)


def _prompt(messages: Sequence[Message], category: str) -> Prompt:
    if not messages or messages[-1].role != "user":
        raise _Bad("the message before the reply is not the user's")
    return Prompt.of(tuple(messages), category=category)


def _reply(value: Any, column: str, turns: Sequence[Message] = ()) -> str:
    """The text of the one message in a cell, or of the one that follows `turns` there."""
    messages = _messages(value, column)
    if turns and len(messages) > 1 and messages[:-1] == tuple(turns):
        messages = messages[-1:]
    if len(messages) != 1 or messages[0].role != "assistant":
        raise _Bad(f"`{column}` is not one assistant message; earlier turns belong to `prompt`")
    if not messages[0].content.strip():
        raise _Bad(f"`{column}` is empty")
    return messages[0].content


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _number(row: dict[str, Any], name: str) -> float:
    """A finite number. A truth value is none."""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Bad(f"`{name}` is {value!r}, not a number")
    return float(value)


def _sha(row: dict[str, Any]) -> str:
    """Of the constitution the row was made under; `cai critique` and `cai label` name the column differently."""
    return _text(row, "constitution_sha") or _text(row, "constitution")


def _sft(row: dict[str, Any], id: str) -> Example:
    if "messages" in row:
        *turns, last = _messages(row["messages"], "messages")
        reply = _reply([last.model_dump()], "messages")
    else:
        turns, reply = _messages(row["prompt"], "prompt"), _reply(row["completion"], "completion")
    prompt = _prompt(turns, _text(row, "category"))
    given, number = row.get("steps"), row.get("round")
    steps = [step for step in given if isinstance(step, dict)] if isinstance(given, list) else []
    revisions = tuple(s["revision"] for s in steps if s.get("changed") and s.get("revision") and not s.get("flags"))
    number = number if isinstance(number, int) else 0
    return Example(id, prompt, (reply,), (1.0,), _sha(row), round=number, revisions=revisions)


def _turns(row: dict[str, Any]) -> tuple[Message, ...]:
    """What a pair replies to: its `prompt`, or without one all that both conversations begin with but for their end."""
    if row.get("prompt") is not None:
        turns = _messages(row["prompt"], "prompt")
        # A transcript's prompt may end with the mark that the reply follows.
        return turns[:-1] if turns[-1] == Message(role="assistant", content="") else turns
    *turns, _ = _messages(row["chosen"], "chosen")
    if not turns:
        raise _Bad("there is no `prompt`, and `chosen` is a reply alone")
    if _messages(row["rejected"], "rejected")[:-1] != tuple(turns):
        raise _Bad("there is no `prompt`, and `chosen` and `rejected` differ before their last message")
    return tuple(turns)


def _pair(row: dict[str, Any], id: str) -> Example:
    turns = _turns(row)
    prompt = _prompt(turns, _text(row, "category"))
    chosen, rejected = (_reply(row[name], name, turns) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise _Bad("`chosen` and `rejected` are the same text")
    p = 1.0 if row.get("p_chosen") is None else _number(row, "p_chosen")
    if not 0 <= p <= 1:
        raise _Bad(f"`p_chosen` is {p!r}, not a probability")
    margin = None if row.get("margin") is None else _number(row, "margin")
    supervised = _reply(row["target"], "target") if row.get("target") else ""
    return Example(id, prompt, (chosen, rejected), (p, 1.0 - p), _sha(row), margin=margin, supervised=supervised)


def _list(row: dict[str, Any], id: str) -> Example:
    prompt = _prompt(_messages(row["prompt"], "prompt"), _text(row, "category"))
    values, target = row["replies"], row["p_best"]
    if not isinstance(values, list) or not isinstance(target, list) or len(values) != len(target) or len(values) < 2:
        raise _Bad("`replies` and `p_best` are not two lists of one length, at least 2")
    if any(isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1 for p in target):
        raise _Bad("`p_best` holds something that is not a probability")
    if abs(sum(target) - 1.0) > 1e-3:
        raise _Bad("`p_best` is not a distribution: it does not add up to 1")
    replies = tuple(_reply(value, "replies") for value in values)
    if len(set(replies)) < len(replies):
        raise _Bad("`replies` holds the same text twice")
    return Example(id, prompt, replies, tuple(float(p) for p in target), _sha(row))


_READERS = {"sft": _sft, "pairs": _pair, "lists": _list}


def choose_steps(examples: Sequence[Example], which: Literal["last", "all"]) -> list[Example]:
    """The last reply of each revision chain, or every revised reply of it (a chain without revisions keeps its one)."""
    if which == "last":
        last = dict[str, int]()
        for example in examples:
            last[example.prompt.id] = max(example.round, last.get(example.prompt.id, 0))
        return [e for e in examples if e.round == last[e.prompt.id]]
    chosen = dict[tuple[str, str], Example]()
    for example in examples:
        for number, reply in enumerate(example.revisions or example.replies, start=1):
            key = (example.prompt.id, reply)
            chosen.setdefault(key, replace(example, id=f"{example.id}#{number}", replies=(reply,)))
    return list(chosen.values())
