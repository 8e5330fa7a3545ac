"""A prompt file as a stream of unique prompts, with a count of everything that did not become one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cai.errors import InputError, InputErrors, Where
from cai.inputs.datasets import is_hub_name, is_saved, open_dataset
from cai.inputs.messages import KNOWN_COLUMNS, CellProblem, category_of, find_column, read_cell, wanted_columns
from cai.inputs.row import Row
from cai.inputs.rows import FORMATS, file_rows, format_of, numbered_rows
from cai.records import Prompt
from cai.seeds import content_id

MOST_PROBLEMS = 20
"""Bad rows shown one by one before the rest is only counted."""


@dataclass
class Tally:
    """What one pass over a file found."""

    rows: int = 0
    prompts: int = 0
    duplicates: int = 0
    replies_dropped: int = 0
    """Rows that ended with the file's own reply, which is not part of the prompt."""
    turns_left_out: int = 0
    """Later user turns of `turns` lists."""
    bad: int = 0
    problems: list[InputError] = field(default_factory=list[InputError])
    """The first `MOST_PROBLEMS` of the bad rows."""

    def lines(self) -> list[str]:
        """What a user should know, one line each; what is zero is left out."""
        said = [f"{self.prompts:,} prompts from {self.rows:,} rows"]
        if self.duplicates:
            said.append(f"{self.duplicates:,} duplicates collapsed")
        if self.replies_dropped:
            said.append(f"{self.replies_dropped:,} rows ended with a reply, which was left out")
        if self.turns_left_out:
            said.append(f"{self.turns_left_out:,} later turns left out: they need our reply to the first")
        if self.bad:
            said.append(f"{self.bad:,} bad rows skipped")
        return said


@dataclass(frozen=True)
class PromptFile:
    """Prompts in `name`: a file, a folder of files, a folder saved by `datasets`, or a dataset on the hub.

    Iterating yields each distinct prompt once, in the file's order, at most `limit`; unreadable rows are passed over,
    so call `check` first. Memory grows by 16 bytes and a set entry a prompt.
    """

    name: str
    column: str = ""
    split: str = ""
    limit: int | None = None

    def __iter__(self) -> Iterator[Prompt]:
        return self.scan(Tally())

    def check(self, *, skip_bad_rows: bool = False) -> Tally:
        """Read everything once. Raises `InputErrors` for bad rows unless skipped, and where nothing is left."""
        tally = Tally()
        for _ in self.scan(tally):
            if tally.bad > MOST_PROBLEMS and not skip_bad_rows:
                break
        if tally.bad and not skip_bad_rows:
            more = "more bad rows follow" if tally.bad > MOST_PROBLEMS else f"{tally.bad} bad rows"
            hint = InputError(more, "mend them, or go on without them: --skip-bad-rows", Where(self.name))
            raise InputErrors([*tally.problems, hint])
        if not tally.prompts:
            what = f"no prompt is left of {tally.rows} rows" if tally.rows else "the file holds no prompts"
            raise InputErrors([*tally.problems, InputError(what, "give at least one", Where(self.name))])
        return tally

    def scan(self, tally: Tally) -> Iterator[Prompt]:
        """The prompts, counting into `tally` as it goes."""
        seen: set[bytes] = set()
        for row in _readable(self._rows(), self.name):
            tally.rows += 1
            prompt = self._prompt(row, tally)
            if isinstance(prompt, InputError):
                tally.bad += 1
                if len(tally.problems) < MOST_PROBLEMS:
                    tally.problems.append(prompt)
            elif (key := bytes.fromhex(prompt.id)) in seen:
                tally.duplicates += 1
            else:
                seen.add(key)
                tally.prompts += 1
                yield prompt
                if tally.prompts == self.limit:
                    return

    def fingerprint(self) -> str:
        """A hash of the content, whatever the limit: a resumed run must find the same prompts."""
        files = self._files()
        parts = [open_dataset(self.name, self.split)[2]] if files is None else [_file_hash(file) for file in files]
        return content_id("prompts", self.column, self.split, parts)

    def _prompt(self, row: Row | InputError, tally: Tally) -> Prompt | InputError:
        if isinstance(row, InputError):
            return row
        column = find_column(list(row.cells), self.column)
        if column is None:
            problem = _no_column(row, self.column)
            if tally.rows == 1:
                raise problem
            return problem
        try:
            found = read_cell(row.cells, column)
        except CellProblem as problem:
            where = Where(row.where.file, row.where.line, key=problem.key)
            return InputError(problem.what, problem.remedy, where)
        tally.replies_dropped += found.reply_dropped
        tally.turns_left_out += found.turns_left_out
        return Prompt.of(found.messages, source=row.source, category=category_of(row.cells))

    def _rows(self) -> Iterator[Row | InputError]:
        files = self._files()
        if files is not None:
            for file in files:
                yield from file_rows(file, self.column)
            return
        rows, label, _ = open_dataset(self.name, self.split, lambda names: wanted_columns(names, self.column))
        yield from numbered_rows(rows, label)

    def _files(self) -> list[Path] | None:
        """The files that hold the rows; None for a dataset. Raises `InputError` for what is neither."""
        path, where = Path(self.name), Where(self.name)
        if path.is_file() or (self.name and path.is_dir() and not is_saved(path)):
            if self.split:
                raise InputError("a file has no splits", "leave --split out", where)
            return [path] if path.is_file() else _files_in(path)
        if path.exists() and not path.is_dir():
            what = "neither a file nor a folder; prompts are read twice, which a pipe does not allow"
            raise InputError(what, "save them to a file", where)
        if not self.name or (not path.exists() and (format_of(path) or not is_hub_name(self.name))):
            raise InputError("no such file", f"give a file ({', '.join(FORMATS)}) or owner/dataset", where)
        return None


def _readable(rows: Iterator[Row | InputError], name: str) -> Iterator[Row | InputError]:
    """The rows; what the system refuses, such as a file without the right to read it, as an `InputError`."""
    try:
        yield from rows
    except OSError as error:
        where = Where(str(error.filename or name)[:200])
        raise InputError(
            f"cannot be read: {error.strerror or error}", "check the path and its rights", where
        ) from error


def _no_column(row: Row, column: str) -> InputError:
    names = ", ".join(row.cells) or "none"
    if column:
        return InputError(f"no column `{column}`", f"columns here: {names}", row.where)
    what = f"no column known to hold prompts among: {names}"
    return InputError(what, f"name it with --column; known: {', '.join(KNOWN_COLUMNS)}", row.where)


def _files_in(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _holds_rows(file))
    if not files:
        raise InputError("no prompt file in the folder", f"known endings: {', '.join(FORMATS)}", Where(folder))
    return files


def _holds_rows(file: Path) -> bool:
    return format_of(file) not in ("", ".json", ".txt") and not file.name.startswith(".")


def _file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
