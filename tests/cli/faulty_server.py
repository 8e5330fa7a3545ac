"""A fake server in a thread of its own, for commands that run in this one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.engine.fake_server import FakeServer, running

Behave = Callable[[int, dict[str, Any]], str | dict[str, Any]]


@contextmanager
def served(behave: Behave) -> Iterator[FakeServer]:
    """The server, up until the block ends."""
    up, loop = threading.Event(), asyncio.new_event_loop()
    found: list[FakeServer] = []
    done = asyncio.Event()

    async def serve() -> None:
        async with running(behave) as fake:
            found.append(fake)
            up.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
