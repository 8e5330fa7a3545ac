"""Drive a stage: a bounded number of records at once, each finished one stored, the rest resumable."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Generic, TypeVar

from cai.errors import EngineFault, RecordFault
from cai.records import Record, Usage
from cai.store.counts import Budget, Counts
from cai.store.faults import BudgetSpent, Interrupted
from cai.store.journal import Row
from cai.store.row import failed, finished
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
    tally = _Tally(run, stage, max_error_rate, total if total is not None else operator.length_hint(items) or None)
    return await _Pass(run, stage, tally, work, key, attempts, budget, progress).go(items, concurrency)


class _Tally:
    """Counts of one pass, beginning with what earlier passes stored."""

    def __init__(self, run: Run, stage: str, max_error_rate: float, total: int | None) -> None:
        self._run, self._stage, self._max_error_rate, self._total = run, stage, max_error_rate, total
        self._started = time.perf_counter()
        self._done_now, self._usage_now = 0, Usage()
        self.in_flight = 0
        self.read_stored()

    def read_stored(self) -> None:
        """Take the counts of all stored records from the journal."""
        totals = self._run.totals(self._stage)
        self._ok, self._quarantined, self._usage = totals.states["ok"], totals.states["quarantined"], totals.usage

    def add(self, group: list[Row]) -> None:
        """Count a group of rows that is now durable."""
        usage = sum((row.usage for row in group), Usage())
        self._usage, self._usage_now = self._usage + usage, self._usage_now + usage
        good = sum(row.state == "ok" for row in group)
        self._ok, self._quarantined = self._ok + good, self._quarantined + len(group) - good
        self._done_now, self.in_flight = self._done_now + len(group), self.in_flight - len(group)

    def counts(self, *, stopping: bool) -> Counts:
        return Counts(
            total=self._total,
            ok=self._ok,
            quarantined=self._quarantined,
            usage=self._usage,
            done_now=self._done_now,
            usage_now=self._usage_now,
            seconds=time.perf_counter() - self._started,
            max_error_rate=self._max_error_rate,
            in_flight=self.in_flight,
            stopping=stopping,
        )


class _Pass(Generic[T]):
    """One pass over a stage's items."""

    def __init__(
        self,
        run: Run,
        stage: str,
        tally: _Tally,
        work: Callable[[T], Awaitable[Record]],
        key: Callable[[T], str],
        attempts: int,
        budget: Budget | None,
        progress: Callable[[Counts], None] | None,
    ) -> None:
        self._journal, self._stage, self._tally = run.journal, stage, tally
        self._work, self._key, self._attempts = work, key, attempts
        self._budget, self._progress = budget, progress
        self._reason: BaseException | None = None
        """Why no new record is started; the first reason wins."""
        self._unseen = self._journal.places(stage)
        """Position by key of stored records that have not come up among the items yet."""
        self._moved: list[tuple[int | None, str]] = []

    async def go(self, items: Iterable[T], concurrency: int) -> Counts:
        started = time.perf_counter()
        writer, feed = Writer(self._journal, self._stage, self._committed), self._feed(items)
        chains = [asyncio.create_task(self._chain(feed, writer)) for _ in range(concurrency)]
        try:
            with on_signals(self._drain, lambda: _cancel(chains)):
                self._report()
                await asyncio.wait(chains)
        finally:
            _cancel(chains)
            await asyncio.gather(*chains, return_exceptions=True)
            await writer.close()
        if writer.failure:
            raise writer.failure
        self._journal.add_seconds(self._stage, time.perf_counter() - started)
        if self._reason is not None:
            raise self._reason
        self._settle_places()
        self._tally.read_stored()
        return self._report()

    def _feed(self, items: Iterable[T]) -> Iterator[tuple[int, str, T]]:
        """The records still to do, with their position; ends early once there is a reason to stop."""
        seen: set[str] = set()
        for position, item in enumerate(items):
            key = self._key(item)
            if key in seen:
                continue
            seen.add(key)
            if key in self._unseen:
                if self._unseen.pop(key) != position:
                    self._moved.append((position, key))
                continue
            if self._reason is None and self._budget and not self._budget.allows(self._counts()):
                self._stop(BudgetSpent(self._budget.spent(self._counts())))
            if self._reason is not None:
                return
            yield position, key, item

    async def _chain(self, feed: Iterator[tuple[int, str, T]], writer: Writer) -> None:
        """Take one record after the other until there are no more."""
        try:
            for position, key, item in feed:
                self._tally.in_flight += 1
                await writer.put(await self._finish(position, key, item))
        except BaseException as fault:
            self._stop(fault)
            raise

    async def _finish(self, position: int, key: str, item: T) -> Row:
        started, attempt = time.perf_counter(), 0
        while True:
            attempt += 1
            try:
                record = await self._work(item)
                return finished(key, position, record, attempts=attempt, seconds=time.perf_counter() - started)
            except (EngineFault, RecordFault) as fault:
                if attempt >= self._attempts or isinstance(fault, RecordFault):
                    seconds = time.perf_counter() - started
                    return failed(key, position, fault, attempts=attempt, seconds=seconds)

    def _stop(self, reason: BaseException) -> None:
        if self._reason is None:
            self._reason = reason

    def _drain(self) -> None:
        self._stop(Interrupted("interrupted; what was finished is stored; resumable: same command"))
        self._report()

    def _committed(self, group: list[Row]) -> None:
        self._tally.add(group)
        self._report()

    def _counts(self) -> Counts:
        return self._tally.counts(stopping=self._reason is not None)

    def _report(self) -> Counts:
        counts = self._counts()
        if self._progress:
            self._progress(counts)
        return counts

    def _settle_places(self) -> None:
        """Give every stored row its place among this pass's items; one that is no longer among them has none."""
        gone = [(None, key) for key, position in self._unseen.items() if position is not None]
        if self._moved or gone:
            self._journal.place(self._stage, [*self._moved, *gone])


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
