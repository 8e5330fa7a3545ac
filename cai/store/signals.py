"""Ctrl-C and SIGTERM: the first asks to finish what is in flight, the second to drop it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_signals(drain: Callable[[], None], abort: Callable[[], None]) -> Generator[None]:
    """Call `drain` on the first signal and `abort` on the second; a third one meets the handlers from before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), {number: signal.getsignal(number) for number in _SIGNALS}
    steps = iter((drain, abort))

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

    def step() -> None:
        act = next(steps)
        if act is abort:
            restore()
        act()

    for number in _SIGNALS:
        loop.add_signal_handler(number, step)
    try:
        yield
    finally:
        restore()
