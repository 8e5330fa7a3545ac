"""One thread that writes: while the disk syncs one group of rows, the next one gathers."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from cai.store.journal import Journal
from cai.store.row import Row

Waiting = tuple[Row, "asyncio.Future[None]"]
"""A row, and what its chain waits for."""


class Writer:
    """Writes rows of one stage from a running event loop; `committed` is called there after each durable group."""

    def __init__(self, journal: Journal, stage: str, committed: Callable[[list[Row]], None]) -> None:
        self._journal, self._stage, self._committed = journal, stage, committed
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"journal-{stage}", daemon=True)
        self._thread.start()

    async def put(self, row: Row) -> None:
        """Store a row and return once it is durable, so that a kill repeats no more than what is in flight.

        Raises StoreError where the disk refuses.
        """
        stored = self._loop.create_future()
        self._queue.put((row, stored))
        await stored

    async def close(self) -> None:
        """Wait until everything queued is stored or refused."""
        self._queue.put(None)
        await self._ended.wait()
        self._thread.join()

    def _work(self) -> None:
        while group := self._next_group():
            fault = None
            try:
                self._journal.add(self._stage, [row for row, _ in group])
            except Exception as refused:  # noqa: BLE001 - handed to the chains that wait, which raise it
                fault = refused
            self._loop.call_soon_threadsafe(self._settle, group, fault)
        self._loop.call_soon_threadsafe(self._ended.set)

    def _next_group(self) -> list[Waiting]:
        """All rows that wait, at least one; an empty list once the queue is closed."""
        group: list[Waiting] = []
        while (waiting := self._queue.get()) is not None:
            group.append(waiting)
            if self._queue.empty():
                return group
        if group:
            self._queue.put(None)
        return group

    def _settle(self, group: list[Waiting], fault: Exception | None) -> None:
        if fault is None:
            try:
                self._committed([row for row, _ in group])
            except Exception as mistake:  # noqa: BLE001 - as above; a chain that nobody wakes would wait for ever
                fault = mistake
        for _, stored in group:
            if stored.done():  # its chain was dropped; the row is stored all the same
                continue
            if fault is None:
                stored.set_result(None)
            else:
                stored.set_exception(fault)
