"""The one retry layer in front of a server: how long to wait, when to give up a request, when to call it down."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from cai.errors import EngineDown, EngineFault, RecordFault

if TYPE_CHECKING:
    from cai.config.engine import OpenAISettings

T = TypeVar("T")
FREE_RETRIES = 100


class Attempt(EngineFault):
    """One attempt failed in a way that may pass. `limited` says the server asked to slow down, `wait` for how long.

    `reached` is False where there was no server to send the request to.
    """

    def __init__(self, reason: str, *, limited: bool = False, wait: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.limited, self.wait, self.reached = limited, wait, reached


@dataclass(frozen=True, slots=True)
class Patience:
    """`attempts` per request, each at most `timeout` seconds; waits double from `first_wait` to `longest_wait`.

    An attempt that did not reach a server is none at this request: were it one, a server that went away would cost the
    records that were in flight. In a whole run at most 100 retries plus `retry_share` per request. The server counts
    as down once `breaker` attempts in a row failed, `attempts` where it is not reached, and nothing succeeded for
    `breaker_seconds`.
    """

    attempts: int
    timeout: float
    first_wait: float
    longest_wait: float
    retry_share: float
    breaker: int
    breaker_seconds: float

    @classmethod
    def of(cls, settings: OpenAISettings) -> Patience:
        """As the settings of a server have it."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class Retrier:
    """Shared by all requests to one server."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._requests = self._retries = self._failed_in_row = 0
        self._last_success = time.monotonic()
        self._not_before = 0.0
        self._down: EngineDown | None = None

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds.

        Raises RecordFault when the request's attempts are used up, EngineDown when the server is down, keeps limiting
        us or asks for too long a wait, and whatever else an attempt raises.
        """
        if not self._requests:
            self._last_success = time.monotonic()
        self._requests += 1
        number, tried, fault = 0, 0, Attempt("not tried")
        while tried < self._patience.attempts:
            number += 1
            await self._wait_for_turn()
            try:
                async with asyncio.timeout(self._patience.timeout):
                    result = await attempt()
            except TimeoutError:
                fault = Attempt(f"no whole answer within {self._patience.timeout:g} s")
            except Attempt as error:
                fault = error
            else:
                self._failed_in_row, self._last_success = 0, time.monotonic()
                return result
            self._count(fault)
            tried += fault.reached
            if tried < self._patience.attempts:
                await self._back_off(number, fault)
        if fault.limited:
            raise self._stop(f"the server still limits us after {tried} attempts at one request ({fault})")
        raise RecordFault(f"no answer in {tried} attempts: {fault}")

    async def _wait_for_turn(self) -> None:
        while self._down is None and (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._down is not None:
            raise self._down

    async def _back_off(self, number: int, fault: Attempt) -> None:
        patience = self._patience
        self._retries += 1
        if self._retries > FREE_RETRIES + patience.retry_share * self._requests:
            raise self._stop(f"{self._retries} retries for {self._requests} requests, the last because of: {fault}")
        if fault.wait is not None and fault.wait > patience.longest_wait:
            raise self._stop(f"the server asks to wait {fault.wait:.0f} s ({fault})")
        if fault.wait is not None:
            self._not_before = max(self._not_before, time.monotonic() + fault.wait)
        # Full jitter: retries of many requests must not come back at the same moment.
        await asyncio.sleep(random.uniform(0, min(patience.longest_wait, patience.first_wait * 2 ** (number - 1))))

    def _count(self, fault: Attempt) -> None:
        if fault.limited:
            return
        self._failed_in_row += 1
        silence = time.monotonic() - self._last_success
        enough = self._patience.breaker if fault.reached else min(self._patience.breaker, self._patience.attempts)
        if self._failed_in_row >= enough and silence >= self._patience.breaker_seconds:
            raise self._stop(f"{self._failed_in_row} attempts in a row failed for {silence:.0f} s ({fault})")

    def _stop(self, reason: str) -> EngineDown:
        if self._down is None:
            self._down = EngineDown(f"{reason}; run the same command again to go on")
        return self._down


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date; None where there is none or it cannot be read."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
