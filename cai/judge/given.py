"""Replies and pairs that the user brings, read with the same care as prompt files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from cai.errors import InputError, InputErrors, Where
from cai.inputs.messages import CellProblem, category_of, find_column, read_cell
from cai.inputs.reader import MOST_PROBLEMS
from cai.inputs.row import Row
from cai.inputs.rows import file_rows
from cai.inputs.transcripts import is_transcript, read_transcript
from cai.records import Message, Prompt

Kind = Literal["replies", "pairs"]
REPLIES = ("replies", "responses", "completions", "outputs")
PAIRS = (
    ("chosen", "rejected"),
    ("reply_a", "reply_b"),
    ("response_a", "response_b"),
    ("reply_1", "reply_2"),
    ("response_1", "response_2"),
    ("output_1", "output_2"),
)
MOST_REPLIES = 16
DIVERGED = "the two replies follow different conversations"
"""What is wrong with some rows of public pairs: five of HH-RLHF's harmless test."""
ALL_COLUMNS = "*"
"""No file has a column of this name, so the reader keeps every column."""


@dataclass(frozen=True, slots=True)
class Given:
    """A prompt with the replies a file holds for it; of a pair, the first is the one the file prefers, if it does."""

    prompt: Prompt
    replies: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class GivenFile:
    """Replies (`--replies`) or pairs (`--pairs`) in a JSONL, CSV or Parquet file.

    A row of replies has a prompt and a list `replies`; one of pairs has `chosen` and `rejected` (or `reply_a`,
    `reply_b` and the like) as texts, message lists or HH-RLHF transcripts, from which the prompt is taken where it
    has no column of its own. Iterating passes over bad rows: call `check` first.
    """

    path: Path
    kind: Kind
    limit: int | None = None

    def __iter__(self) -> Iterator[Given]:
        count = 0
        for given in self._rows():
            if isinstance(given, Given):
                yield given
                count += 1
                if count == self.limit:
                    return

    def problems(self) -> list[InputError]:
        """What is wrong with each bad row, with file and line."""
        return [row for row in self._rows() if isinstance(row, InputError)]

    def check(self, *, skip_bad_rows: bool = False) -> int:
        """Read all rows once and count the good ones. Raises InputErrors for bad ones unless they may be skipped."""
        good, problems = 0, list[InputError]()
        for given in self._rows():
            if isinstance(given, InputError):
                problems.append(given)
            else:
                good += 1
        if problems and not skip_bad_rows:
            hint = InputError(f"{len(problems)} bad rows", "mend them, or go on without: --skip-bad-rows")
            raise InputErrors([*problems[:MOST_PROBLEMS], hint])
        if not good:
            raise InputErrors([*problems[:1], InputError("the file holds no rows to judge", where=Where(self.path))])
        return good

    def fingerprint(self) -> str:
        """A hash of the file's content: a resumed run must find the same rows."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]

    def _rows(self) -> Iterator[Given | InputError]:
        if not self.path.is_file():
            raise InputError("no such file", f"give the file of {self.kind}", Where(self.path))
        for row in file_rows(self.path, ALL_COLUMNS):
            yield row if isinstance(row, InputError) else self._read(row)

    def _read(self, row: Row) -> Given | InputError:
        try:
            return _replies(row) if self.kind == "replies" else _pair(row)
        except CellProblem as problem:
            return InputError(problem.what, problem.remedy, Where(row.where.file, row.where.line, key=problem.key))


def _replies(row: Row) -> Given:
    name = next((name for name in REPLIES if name in row.cells), None)
    if name is None:
        raise CellProblem("", "no column of replies", f"name it one of {', '.join(REPLIES)}")
    value = row.cells[name]
    if not isinstance(value, list):
        raise CellProblem(name, "replies are a list", 'write ["…", "…"]')
    replies = tuple(_reply(cell, f"{name}[{n}]")[1] for n, cell in enumerate(cast("list[object]", value)))
    if not 2 <= len(replies) <= MOST_REPLIES:
        raise CellProblem(name, f"{len(replies)} replies", f"give 2 to {MOST_REPLIES} to compare")
    return Given(_prompt(row, None), replies, "replies")


def _pair(row: Row) -> Given:
    names = next((pair for pair in PAIRS if all(name in row.cells for name in pair)), None)
    if names is None:
        raise CellProblem("", "no columns of a pair", "name them chosen and rejected, or reply_a and reply_b")
    (before_a, a), (before_b, b) = (_reply(row.cells[name], name) for name in names)
    if before_a != before_b:
        raise CellProblem(names[1], DIVERGED, "mend or drop the row")
    return Given(_prompt(row, before_a), (a, b), "pairs")


def _reply(value: object, key: str) -> tuple[tuple[Message, ...] | None, str]:
    """The conversation before the reply, where the cell holds it, and the reply's text."""
    if isinstance(value, str) and is_transcript(value):
        messages = read_transcript(value)
    elif isinstance(value, str):
        return None, value
    elif isinstance(value, list):
        messages = tuple(_message(entry, f"{key}[{n}]") for n, entry in enumerate(cast("list[object]", value)))
    else:
        raise CellProblem(key, f"a reply is a text or a list of messages, not {type(value).__name__}", "mend the row")
    if not messages or messages[-1].role != "assistant":
        raise CellProblem(key, "the last turn is not the assistant's", "a reply is what the assistant says last")
    return messages[:-1] or None, messages[-1].content


def _message(entry: object, key: str) -> Message:
    fields = cast("Mapping[str, object]", entry if isinstance(entry, dict) else {})
    role, content = fields.get("role"), fields.get("content")
    if role not in ("system", "user", "assistant") or not isinstance(content, str):
        raise CellProblem(key, "not a message", 'write {"role": "assistant", "content": "…"}')
    return Message(role=role, content=content)


def _prompt(row: Row, before: tuple[Message, ...] | None) -> Prompt:
    """The row's own prompt column, else the conversation found in front of the replies."""
    cells = {name: cell for name, cell in row.cells.items() if name.lower() not in ("chosen", "rejected")}
    column = find_column(list(cells), "")
    if column is not None:
        messages = read_cell(cells, column).messages
    elif before is not None:
        messages = before
    else:
        raise CellProblem("", "no prompt", "add a column `prompt`")
    if messages[-1].role != "user":
        raise CellProblem("prompt", "the conversation does not end with the user", "mend or drop the row")
    return Prompt.of(messages, source=row.source, category=category_of(row.cells))
