"""Training examples from the files that `cai critique`, `cai label` and `cai sample` write, or anything of their
columns.

Supervised: `messages` (the last one is the reply), or `prompt` and `completion`. Preferences: `prompt`, `chosen`,
`rejected` and `p_chosen` (1 where the column is missing). Best of K: `prompt`, `replies` and `p_best`. Messages are
lists of {role, content}. Every problem is found before a model loads and names its file and row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from cai.errors import InputError, InputErrors, Where
from cai.records import Message, Prompt, Role

Shape = Literal["sft", "pairs", "lists"]
COLUMNS: dict[Shape, str] = {
    "sft": "`messages`, or `prompt` and `completion`",
    "pairs": "`prompt`, `chosen`, `rejected` and, for soft labels, `p_chosen`",
    "lists": "`prompt`, `replies` and `p_best`",
}
MOST_PROBLEMS = 10
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
    margin: float = 0.0
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


class _Bad(Exception):
    """What is wrong with one row."""


def read_examples(path: Path, shape: Shape) -> tuple[list[Example], Source]:
    """All examples of a Parquet or JSONL file. Raises InputErrors naming the first bad rows."""
    rows, examples, problems = 0, list[Example](), list[InputError]()
    for rows, row in enumerate(_rows(path), start=1):
        if rows == 1:
            _check_columns(path, row, shape)
        try:
            examples.append(_READERS[shape](row, f"{path.name}:{rows}"))
        except _Bad as bad:
            problems.append(InputError(str(bad), "", Where(path, rows)))
            if len(problems) == MOST_PROBLEMS:
                break
    if problems:
        raise InputErrors([*problems, InputError("mend these rows or leave them out", "", Where(path))])
    if not examples:
        raise InputError("the file holds no rows", "give one with at least one example", Where(path))
    with path.open("rb") as file:
        return examples, Source(path, hashlib.file_digest(file, "sha256").hexdigest(), rows)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"there is no file {path}", "give one with `train.data=[FILE]`, or run the stage before first")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq
        from pyarrow import ArrowInvalid

        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
                yield from batch.to_pylist()
        except ArrowInvalid as error:
            raise InputError(f"this is not a Parquet file: {error}", "write it again", Where(path)) from error
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    else:
        raise InputError(
            f"files ending in {path.suffix or 'nothing'} are not read", "use .parquet or .jsonl", Where(path)
        )


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"this line is not JSON: {error}", "one object a line", Where(path, number)) from error
            if not isinstance(row, dict):
                raise InputError("this line is not a JSON object", "one object a line", Where(path, number))
            yield row


def _check_columns(path: Path, row: dict[str, Any], shape: Shape) -> None:
    names = set(row)
    wanted = {
        "sft": "messages" in names or {"prompt", "completion"} <= names,
        "pairs": {"prompt", "chosen", "rejected"} <= names,
        "lists": {"prompt", "replies", "p_best"} <= names,
    }
    if not wanted[shape]:
        others = [s for s, fits in wanted.items() if fits]
        hint = f"it looks like data for {' or '.join(others)}" if others else f"it has {', '.join(sorted(names)[:12])}"
        raise InputError(f"this training needs the columns {COLUMNS[shape]}", hint, Where(path))


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    """Messages of a cell: a list of {role, content}, or a text, which is a user's turn or a reply."""
    if isinstance(value, str):
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
        found.append(Message(role=role, content=content))
    return tuple(found)


def _prompt(messages: Sequence[Message], category: str) -> Prompt:
    if not messages or messages[-1].role != "user":
        raise _Bad("the message before the reply is not the user's")
    return Prompt.of(tuple(messages), category=category)


def _reply(value: Any, column: str) -> str:
    messages = _messages(value, column)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise _Bad(f"`{column}` is not one assistant message; earlier turns belong to `prompt`")
    if not messages[0].content.strip():
        raise _Bad(f"`{column}` is empty")
    return messages[0].content


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


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
    steps = [step for step in row.get("steps") or [] if isinstance(step, dict)]
    revisions = tuple(s["revision"] for s in steps if s.get("changed") and s.get("revision") and not s.get("flags"))
    return Example(id, prompt, (reply,), (1.0,), _sha(row), round=row.get("round") or 0, revisions=revisions)


def _pair(row: dict[str, Any], id: str) -> Example:
    prompt = _prompt(_messages(row["prompt"], "prompt"), _text(row, "category"))
    chosen, rejected = _reply(row["chosen"], "chosen"), _reply(row["rejected"], "rejected")
    if chosen == rejected:
        raise _Bad("`chosen` and `rejected` are the same text")
    p = 1.0 if row.get("p_chosen") is None else row["p_chosen"]
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise _Bad(f"`p_chosen` is {p!r}, not a probability")
    margin = row.get("margin") or 0.0
    return Example(
        id,
        prompt,
        (chosen, rejected),
        (float(p), 1.0 - float(p)),
        _sha(row),
        margin=float(margin),
        supervised=_text(row, "target"),
    )


def _list(row: dict[str, Any], id: str) -> Example:
    prompt = _prompt(_messages(row["prompt"], "prompt"), _text(row, "category"))
    values, target = row["replies"], row["p_best"]
    if not isinstance(values, list) or not isinstance(target, list) or len(values) != len(target) or len(values) < 2:
        raise _Bad("`replies` and `p_best` are not two lists of one length, at least 2")
    if any(not isinstance(p, (int, float)) or p < 0 for p in target) or abs(sum(target) - 1.0) > 1e-3:
        raise _Bad("`p_best` is not a distribution: it should be at least 0 and add up to 1")
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
