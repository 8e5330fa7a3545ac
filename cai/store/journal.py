"""The run's only truth: one SQLite file, one row per finished record, written in small durable groups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cai.errors import InputError
from cai.store.faults import naming
from cai.store.reader import PATIENCE_S
from cai.store.row import Row, State

VERSION = 1

_SCHEMA = f"""
CREATE TABLE stages (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,             -- canonical JSON of what the rows depend on
    seconds REAL NOT NULL DEFAULT 0,    -- wall time of all passes
    items INTEGER                       -- records to work on, where a pass knew
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


class Journal:
    """The writing side; one thread at a time. What a method has returned from, a power cut does not take away."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises StoreError where the disk refuses or the file is damaged."""
        self.path = path
        with naming(path):
            # Transactions are ours (isolation_level None); the writer thread and the main one take turns.
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=PATIENCE_S)
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif version != VERSION:
            what = f"{self.path}: written by another version of cai (format {version}, not {VERSION})"
            raise InputError(what, "use another run name")

    def close(self) -> None:
        with naming(self.path):
            self._connection.close()

    def set_identity(self, stage: str, identity: str) -> None:
        """Note what the stage's rows depend on."""
        upsert = "ON CONFLICT (name) DO UPDATE SET identity = excluded.identity"
        self._write(f"INSERT INTO stages (name, identity) VALUES (?, ?) {upsert}", [(stage, identity)])

    def end_pass(self, stage: str, seconds: float, items: int | None) -> None:
        """Add the time of a pass, and note how many records there are where it knew."""
        statement = "UPDATE stages SET seconds = seconds + ?, items = coalesce(?, items) WHERE name = ?"
        self._write(statement, [(seconds, items, stage)])

    def add(self, stage: str, rows: Sequence[Row]) -> None:
        """Store a group of finished records in one transaction."""
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

    def _write(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        with naming(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the first fault is the one to tell
                    self._connection.execute("ROLLBACK")
                raise
