"""Read a run's journal: each question opens its own connection, sees whole groups only and disturbs no writer."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cai.records import Record, Usage
from cai.store.faults import naming
from cai.store.row import State

M = TypeVar("M", bound=Record)
PATIENCE_S = 10.0
"""How long a connection waits for another one that is writing."""


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
    items: int | None
    """Records the stage works on; None until a pass knew."""

    @property
    def done(self) -> int:
        return self.states.total()


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Quarantined records that failed alike."""

    kind: str
    count: int
    example: str
    """The message of the first of them."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Questions to the journal at `path`."""

    path: Path

    def stages(self) -> list[str]:
        """Names of the stages in the order they were begun; none where a kill left an empty file."""
        if list(self._ask("PRAGMA user_version")) == [(0,)]:
            return []
        return [name for (name,) in self._ask("SELECT name FROM stages ORDER BY rowid")]

    def identity(self, stage: str) -> str | None:
        """The canonical identity the stage's rows were made with; None for a new stage."""
        found = list(self._ask("SELECT identity FROM stages WHERE name = ?", stage))
        return found[0][0] if found else None

    def places(self, stage: str) -> dict[str, int | None]:
        """Key and position of every stored row."""
        return dict(self._ask("SELECT key, position FROM rows WHERE stage = ?", stage))

    def rows(self, stage: str, model: type[M]) -> Iterator[Stored[M]]:
        """The rows of the last pass's items in their order, streamed."""
        query = (
            "SELECT key, position, state, body, kind, error, attempts, seconds FROM rows "
            "WHERE stage = ? AND position IS NOT NULL ORDER BY position"
        )
        for key, position, state, body, *rest in self._ask(query, stage):
            yield Stored(key, position, state, None if body is None else model.model_validate_json(body), *rest)

    def totals(self, stage: str) -> Totals:
        """States, usage and time of the last pass's items, summed by SQL."""
        query = (
            "SELECT state, count(*), sum(calls), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens) "
            "FROM rows WHERE stage = ? AND position IS NOT NULL GROUP BY state"
        )
        states, usage = Counter[str](), Usage()
        for state, count, calls, prompt, cached, completion in self._ask(query, stage):
            states[state] = count
            usage += Usage(calls=calls, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
        noted = list(self._ask("SELECT seconds, items FROM stages WHERE name = ?", stage))
        seconds, items = noted[0] if noted else (0.0, None)
        return Totals(states, usage, seconds, items)

    def errors(self, stage: str) -> list[ErrorKind]:
        """Why records were quarantined, the most frequent kind first."""
        query = (
            "SELECT kind, count(*), error, min(position) FROM rows "
            "WHERE stage = ? AND position IS NOT NULL AND state = 'quarantined' GROUP BY kind ORDER BY 2 DESC, 1"
        )
        return [ErrorKind(kind, count, error) for kind, count, error, _ in self._ask(query, stage)]

    def _ask(self, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        with naming(self.path, "read"), closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as connection:
            yield from connection.execute(query, values)
