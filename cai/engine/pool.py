"""Shares requests among engines elsewhere: who gets which, how many at a time, and what happens when one dies.

Knows nothing of Ray: a worker is whatever answers, says when it is up, and raises `WorkerLost` once it is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from cai.engine.affinity import Affinity
from cai.engine.protocol import Turn
from cai.errors import EngineDown, RecordFault
from cai.seeds import content_id

T = TypeVar("T")
DEATHS = 2
"""Deaths of engines under a request before it is suspected of causing them."""
FRUITLESS = 3
"""Deaths per engine in a row, none of them having answered anything in between, before all count as down."""


class WorkerLost(Exception):
    """The process or the machine of a worker is gone, and with it what it was asked."""


class Worker(Protocol):
    """One engine elsewhere."""

    async def ready(self) -> None:
        """Return once it can be asked. Raises WorkerLost, or what makes it unusable for good."""
        ...

    def stop(self) -> None:
        """End it, running or not; calling it twice is harmless."""
        ...


W = TypeVar("W", bound=Worker)


@dataclass(eq=False)
class _Seat(Generic[W]):
    """The place of one worker, taken by another one when it dies."""

    worker: W
    up: bool = False
    load: int = 0
    suspect: bool = False
    """A request that may have killed others is running here."""
    joining: asyncio.Task[None] | None = None


@dataclass(eq=False)
class Pool(Generic[W]):
    """`size` workers made by `start`, each asked at most `in_flight` things at a time; `tell` gets a line per death.

    A conversation goes where the longest part of it was asked before, unless that worker is busier than the others by
    a quarter of `in_flight`; else to the one that is asked the least.
    """

    start: Callable[[], W]
    size: int
    in_flight: int
    patience: float
    """Most seconds to wait while no worker is up."""
    tell: Callable[[str], None]
    deaths: int = 0
    _seats: list[_Seat[W]] = field(default_factory=list["_Seat[W]"])
    _affinity: Affinity[_Seat[W]] = field(init=False)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque["asyncio.Future[None]"])
    _fruitless: int = 0
    _down: BaseException | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._affinity = Affinity(slack=max(1, self.in_flight // 4))
        self._seats = [_Seat(self.start()) for _ in range(self.size)]

    @property
    def workers(self) -> tuple[W, ...]:
        return tuple(seat.worker for seat in self._seats)

    async def run(self, turns: tuple[Turn, ...], ask: Callable[[W], Awaitable[T]]) -> T:
        """What `ask` gets from a worker, asked again of another one when that dies.

        A request under which `DEATHS` workers died runs again while no other suspect does; if that one dies too, it is
        this record's fault. Raises EngineDown when workers only die, or none comes up in time, and what `ask` raises.
        """
        self._tend()
        prefixes, died = _prefixes(turns), 0
        while True:
            suspected = died >= DEATHS
            async with self._lock(suspected):
                seat = await self._take(prefixes, suspected)
                try:
                    answer = await ask(seat.worker)
                except WorkerLost as lost:
                    self._replace(seat, lost)
                    if suspected:
                        raise RecordFault(f"{died + 1} engines died while they worked on this request") from lost
                    died += not seat.suspect
                else:
                    self._fruitless = 0
                    return answer
                finally:
                    self._give_back(seat)

    async def everywhere(self, ask: Callable[[W], Awaitable[object]]) -> None:
        """Ask every worker that is up; one that dies of it is replaced. Raises what brought the pool down, or `ask`."""
        self._tend()

        async def one(seat: _Seat[W]) -> None:
            try:
                await ask(seat.worker)
            except WorkerLost as lost:
                self._replace(seat, lost)

        await asyncio.gather(*(one(seat) for seat in self._seats if seat.up))
        if self._down is not None:
            raise self._down

    def stop(self, reason: str) -> None:
        """End every worker; whoever waits gets EngineDown."""
        self._fail(EngineDown(reason))
        for seat in self._seats:
            if seat.joining is not None:
                seat.joining.cancel()
            seat.worker.stop()

    def _lock(self, suspected: bool) -> AbstractAsyncContextManager[None]:
        return self._alone if suspected else nullcontext()

    def _tend(self) -> None:
        """Wait for every worker that is not up yet; in a new event loop the old one's waits are gone."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._alone = loop, asyncio.Lock()
            self._waiting.clear()
        for seat in self._seats:
            if not seat.up and self._down is None and (seat.joining is None or seat.joining.done()):
                seat.joining = loop.create_task(self._join(seat))

    async def _join(self, seat: _Seat[W]) -> None:
        try:
            await seat.worker.ready()
        except WorkerLost as lost:
            self._replace(seat, lost)
        except Exception as fault:  # noqa: BLE001 - whoever waits for a worker must hear why there is none
            self._fail(fault)
        else:
            seat.up = True
            self._wake(self.in_flight)

    async def _take(self, prefixes: tuple[str, ...], suspected: bool) -> _Seat[W]:
        """A place for one request, once there is room. Raises what brought the pool down."""
        while True:
            if self._down is not None:
                raise self._down
            free = [seat for seat in self._seats if seat.up and seat.load < self.in_flight]
            if free:
                seat = self._affinity.pick(prefixes, free, lambda seat: seat.load)
                seat.load += 1
                seat.suspect |= suspected
                return seat
            await self._wait()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        up = any(seat.up for seat in self._seats)
        try:
            await asyncio.wait_for(waiter, None if up else self.patience)
        except TimeoutError:
            if not any(seat.up for seat in self._seats):
                self._fail(EngineDown(f"no engine came up in {self.patience:g} s; run the same command again to go on"))
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake(1)
            raise

    def _give_back(self, seat: _Seat[W]) -> None:
        seat.load -= 1
        if seat in self._seats:
            seat.suspect = seat.suspect and seat.load > 0
            self._wake(1)

    def _replace(self, seat: _Seat[W], lost: WorkerLost) -> None:
        """Give the place of a dead worker to a new one; only the first to notice does."""
        if seat not in self._seats or self._down is not None:
            return
        self.deaths, self._fruitless = self.deaths + 1, self._fruitless + 1
        seat.worker.stop()
        if self._fruitless >= FRUITLESS * self.size:
            self._fail(EngineDown(f"{self._fruitless} engines in a row died without an answer, the last one: {lost}"))
            return
        self.tell(
            f"warning: an engine died ({lost}); its {seat.load} requests run again, another engine takes its place"
        )
        self._seats[self._seats.index(seat)] = _Seat(self.start())
        self._affinity.forget(seat)
        self._tend()
        # Those who waited for one of several engines may now have to wait for the only one to come up.
        self._wake(len(self._waiting))

    def _wake(self, count: int) -> None:
        while self._waiting and count > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _fail(self, reason: BaseException) -> None:
        if self._down is None:
            self._down = reason
        self._wake(len(self._waiting))


def _prefixes(turns: tuple[Turn, ...]) -> tuple[str, ...]:
    """A name for the conversation up to each of its turns, by what is said alone."""
    names = list[str]()
    for turn in turns:
        names.append(content_id(names[-1] if names else "", turn.role, turn.content))
    return tuple(names)
