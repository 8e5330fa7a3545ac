"""Drive a stage: a bounded number of records at once, each finished one stored, the rest resumable."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from cai.errors import EngineFault, RecordFault
from cai.records import Record
from cai.store.counts import Budget, Counts
from cai.store.faults import BudgetSpent, Interrupted
from cai.store.row import Row, failed, finished
from cai.store.run import Run
from cai.store.signals import on_signals
from cai.store.writer import Writer

T = TypeVar("T")


async def run_stage(
    run: Run,
    stage: str,
    items: Iterable[T],
    work: Callable[[T], Awaitable[Record]],
    *,
    key: Callable[[T], str],
    concurrency: int,
    attempts: int = 3,
    max_error_rate: float = 0.05,
    budget: Budget | None = None,
    progress: Callable[[Counts], None] | None = None,
    total: int | None = None,
) -> Counts:
    """Work through `items`, `concurrency` at a time, storing each finished record; skip those already stored.

    `items` is streamed: at most `concurrency` of them are held. `key` gives the record's content id; a second item
    with the same id is the same record. An `EngineFault` is tried up to `attempts` times; then, or on a `RecordFault`,
    the record is quarantined and the stage goes on; `Counts.check_errors` tells whether they were too many. Anything
    else that `work` or `items` raises (`EngineDown`, wrong input) stops the stage once the records in flight are
    stored, and is raised here.

    Raises Interrupted after SIGINT or SIGTERM (a second one drops what is in flight), BudgetSpent before the budget is
    passed, StoreError when the disk refuses. After each of them the same call goes on where it stopped.
    """
    known = total if total is not None else operator.length_hint(items) or None
    counts = Counts(total=known, max_error_rate=max_error_rate, began=time.perf_counter()).of(run.totals(stage))
    return await _Pass(run, stage, work, key, attempts, budget, progress, counts).go(items, concurrency)


@dataclass
class _Pass(Generic[T]):
    """One pass over a stage's items."""

    run: Run
    stage: str
    work: Callable[[T], Awaitable[Record]]
    key: Callable[[T], str]
    attempts: int
    budget: Budget | None
    progress: Callable[[Counts], None] | None
    counts: Counts
    reason: BaseException | None = None
    """Why no new record is started; the first reason wins."""
    unseen: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    """Position by key of stored records that have not come up among the items yet."""
    moved: list[tuple[int | None, str]] = field(default_factory=list[tuple["int | None", str]])
    """Stored records that have another position among these items."""

    async def go(self, items: Iterable[T], concurrency: int) -> Counts:
        """All items, or as many as there is no reason to stop before."""
        self.unseen = self.run.reader.places(self.stage)
        writer, feed = Writer(self.run.journal, self.stage, self._committed), self._feed(items)
        chains = [asyncio.create_task(self._chain(feed, writer)) for _ in range(concurrency)]
        try:
            with on_signals(self._drain, lambda: _cancel(chains)):
                self._report()
                await asyncio.wait(chains)
        finally:
            _cancel(chains)
            await asyncio.gather(*chains, return_exceptions=True)
            await writer.close()
        if self._went_through:
            self._settle_places()
        self._end()
        if self.reason is not None:
            raise self.reason
        return self.counts

    @property
    def _went_through(self) -> bool:
        """Whether every item was looked at. A spent budget ends with files, so that the places must be right."""
        return self.reason is None or isinstance(self.reason, BudgetSpent)

    def _feed(self, items: Iterable[T]) -> Iterator[tuple[int, str, T]]:
        """The records still to do, with their position; none any more once there is a reason to stop."""
        seen: set[str] = set()
        for position, item in enumerate(items):
            key = self.key(item)
            if key in seen:
                continue
            seen.add(key)
            if key in self.unseen:
                if self.unseen.pop(key) != position:
                    self.moved.append((position, key))
                continue
            if self.reason is None and self.budget and not self.budget.allows(self.counts):
                self._stop(BudgetSpent(self.budget.spent(self.counts)))
            if self.reason is None:
                yield position, key, item
            elif not self._went_through:
                return

    async def _chain(self, feed: Iterator[tuple[int, str, T]], writer: Writer) -> None:
        """Take one record after the other until there are no more."""
        try:
            for position, key, item in feed:
                self.counts = replace(self.counts, in_flight=self.counts.in_flight + 1)
                await writer.put(await self._finish(position, key, item))
        except BaseException as fault:
            self._stop(fault)
            raise

    async def _finish(self, position: int, key: str, item: T) -> Row:
        """Work on one record until there is a row to store."""
        started, attempt = time.perf_counter(), 0
        while True:
            attempt += 1
            try:
                record = await self.work(item)
                return finished(key, position, record, attempts=attempt, seconds=time.perf_counter() - started)
            except (EngineFault, RecordFault) as fault:
                if attempt >= self.attempts or isinstance(fault, RecordFault):
                    seconds = time.perf_counter() - started
                    return failed(key, position, fault, attempts=attempt, seconds=seconds)

    def _stop(self, reason: BaseException) -> None:
        if self.reason is None:
            self.reason = reason
            self.counts = replace(self.counts, stopping=True)

    def _drain(self) -> None:
        self._stop(Interrupted("interrupted; what was finished is stored; resumable: same command"))
        self._report()

    def _committed(self, group: list[Row]) -> None:
        self.counts = self.counts.after(group)
        self._report()

    def _report(self) -> None:
        self.counts = self.counts.at(time.perf_counter())
        if self.progress:
            self.progress(self.counts)

    def _settle_places(self) -> None:
        """Give every stored row its place among this pass's items; one that is no longer among them has none."""
        gone = [(None, key) for key, position in self.unseen.items() if position is not None]
        if self.moved or gone:
            self.run.journal.place(self.stage, [*self.moved, *gone])

    def _end(self) -> None:
        """Note the pass in the journal, and take the last counts from there."""
        counts = self.counts.at(time.perf_counter()).of(self.run.totals(self.stage))
        self.counts = counts if self.reason is not None else replace(counts, total=counts.done)
        self.run.journal.end_pass(self.stage, counts.seconds, self.counts.total)
        self._report()


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
