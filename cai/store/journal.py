"""The run's only truth: one SQLite file, one row per finished record, written in small durable groups."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from cai.errors import InputError
from cai.records import Record, Usage
from cai.store.faults import naming

State = Literal["ok", "quarantined"]
"""What a stored row can be; a record without a row is pending."""
M = TypeVar("M", bound=Record)
VERSION = 1

_SCHEMA = f"""
CREATE TABLE stages (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,             -- canonical JSON of what the rows depend on
    seconds REAL NOT NULL DEFAULT 0     -- wall time of all passes
);
CREATE TABLE rows (
    stage TEXT NOT NULL,
    key TEXT NOT NULL,                  -- content id of the record
    position INTEGER,                   -- index in the items of the last pass; NULL: no longer among them
    state TEXT NOT NULL,
    body TEXT,                          -- the record as JSON, where the state is ok
    kind TEXT NOT NULL,                 -- of the error, and its message
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    seconds REAL NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
);
CREATE UNIQUE INDEX rows_by_key ON rows (stage, key);
CREATE INDEX rows_by_position ON rows (stage, position);
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A finished record as the journal keeps it. `position` is None when it is not among the last pass's items."""

    key: str
    position: int | None
    state: State
    body: str | None
    kind: str
    error: str
    attempts: int
    seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Stored(Generic[M]):
    """A row read back: the record where the state is `ok`, else the error's kind and message."""

    key: str
    position: int
    state: State
    body: M | None
    kind: str
    error: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a stage's rows."""

    states: Counter[str]
    usage: Usage
    seconds: float
    """Wall time of all passes over the stage."""


class Journal:
    """The SQLite file. One thread writes at a time; readers open their own connection and see whole groups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        if version not in (0, VERSION):
            self._writer.close()
            raise InputError(
                f"{path}: written by another version of cai (format {version}, not {VERSION})", "use another run name"
            )

    def close(self) -> None:
        with naming(self.path):
            self._writer.close()

    def identity(self, stage: str) -> str | None:
        """The canonical identity the stage's rows were made with; None for a new stage."""
        found = list(self._read("SELECT identity FROM stages WHERE name = ?", (stage,)))
        return found[0][0] if found else None

    def set_identity(self, stage: str, identity: str) -> None:
        """Note what the stage's rows depend on; only while it has none."""
        upsert = "ON CONFLICT (name) DO UPDATE SET identity = excluded.identity"
        self._write(f"INSERT INTO stages (name, identity) VALUES (?, ?) {upsert}", [(stage, identity)])

    def add_seconds(self, stage: str, seconds: float) -> None:
        self._write("UPDATE stages SET seconds = seconds + ? WHERE name = ?", [(seconds, stage)])

    def add(self, stage: str, rows: Sequence[Row]) -> None:
        """Store a group in one transaction; when this returns, a power cut takes none of it away."""
        values = [
            (stage, r.key, r.position, r.state, r.body, r.kind, r.error, r.attempts, r.seconds,
             r.usage.calls, r.usage.prompt_tokens, r.usage.cached_tokens, r.usage.completion_tokens)
            for r in rows
        ]  # fmt: skip
        self._write(f"INSERT INTO rows VALUES ({', '.join('?' * 13)})", values)

    def place(self, stage: str, places: Iterable[tuple[int | None, str]]) -> None:
        """Give rows, by key, their position among the items of this pass."""
        values = ((position, stage, key) for position, key in places)
        self._write("UPDATE rows SET position = ? WHERE stage = ? AND key = ?", values)

    def forget(self, stage: str, state: State) -> None:
        """Remove the rows in one state, so that the next pass works on those records again."""
        self._write("DELETE FROM rows WHERE stage = ? AND state = ?", [(stage, state)])

    def places(self, stage: str) -> dict[str, int | None]:
        """Key and position of every stored row."""
        return dict(self._read("SELECT key, position FROM rows WHERE stage = ?", (stage,)))

    def stages(self) -> list[str]:
        return [name for (name,) in self._read("SELECT name FROM stages ORDER BY rowid", ())]

    def rows(self, stage: str, model: type[M]) -> Iterator[Stored[M]]:
        """The rows of the last pass's items in their order, streamed."""
        query = (
            "SELECT key, position, state, body, kind, error, attempts, seconds FROM rows "
            "WHERE stage = ? AND position IS NOT NULL ORDER BY position"
        )
        for key, position, state, body, *rest in self._read(query, (stage,)):
            yield Stored(key, position, state, None if body is None else model.model_validate_json(body), *rest)

    def totals(self, stage: str) -> Totals:
        """States, usage and time of the last pass's items, summed by SQL."""
        query = (
            "SELECT state, count(*), sum(calls), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens) "
            "FROM rows WHERE stage = ? AND position IS NOT NULL GROUP BY state"
        )
        states, usage = Counter[str](), Usage()
        for state, count, calls, prompt, cached, completion in self._read(query, (stage,)):
            states[state] = count
            usage += Usage(calls=calls, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
        seconds = sum(row[0] for row in self._read("SELECT seconds FROM stages WHERE name = ?", (stage,)))
        return Totals(states, usage, seconds)

    def _write(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        with naming(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._writer.executemany(statement, values)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        with naming(self.path, "read"), closing(sqlite3.connect(self.path, timeout=10)) as reader:
            yield from reader.execute(query, values)
