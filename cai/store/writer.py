"""One thread that writes: rows queue up while the disk syncs, and the next commit takes them all."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from cai.store.faults import StoreError
from cai.store.journal import Journal
from cai.store.row import Row

GROUP = 500
"""Most rows in one commit."""
BACKLOG = 2000
"""Most rows waiting for the disk; beyond it, chains wait before they start the next record."""


class Writer:
    """Writes rows of one stage from a running event loop; `committed` is called there after each durable group."""

    def __init__(self, journal: Journal, stage: str, committed: Callable[[list[Row]], None]) -> None:
        self.failure: StoreError | None = None
        self._journal, self._stage, self._on_commit = journal, stage, committed
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._waiting = 0
        self._room, self._ended = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._work, name=f"journal-{stage}", daemon=True)
        self._thread.start()

    async def put(self, row: Row) -> None:
        """Queue a row; waits only while the disk is far behind. Raises what the disk refused."""
        while self._waiting >= BACKLOG and not self.failure:
            self._room.clear()
            await self._room.wait()
        if self.failure:
            raise self.failure
        self._waiting += 1
        self._queue.put(row)

    async def close(self) -> None:
        """Wait until everything queued is durable."""
        self._queue.put(None)
        await self._ended.wait()
        self._thread.join()

    def _work(self) -> None:
        try:
            while group := self._next_group():
                self._journal.add(self._stage, group)
                self._loop.call_soon_threadsafe(self._settle, group)
        except StoreError as fault:
            self._loop.call_soon_threadsafe(self._fail, fault)
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _next_group(self) -> list[Row]:
        """All rows that wait, at least one; an empty list once the queue is closed."""
        group: list[Row] = []
        row = self._queue.get()
        while row is not None:
            group.append(row)
            if len(group) == GROUP or self._queue.empty():
                return group
            row = self._queue.get()
        if group:
            self._queue.put(None)
        return group

    def _settle(self, group: list[Row]) -> None:
        self._waiting -= len(group)
        self._room.set()
        self._on_commit(group)

    def _fail(self, fault: StoreError) -> None:
        self.failure = fault
        self._room.set()
