"""Calls of another process over one connection: numbered frames of pickled values, after a secret.

A message of Ray's takes a millisecond of processor time at either end, one of these a twentieth of that
(docs/decisions/0044). Like Ray's they are not encrypted; nothing is read from whoever does not begin with the secret.
"""

from __future__ import annotations

import asyncio
import pickle
import secrets
import struct
import traceback
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

LENGTH = struct.Struct("!Q")
SECRET_BYTES = 32
PATIENCE = 30.0
"""Most seconds for a connection to come about."""


class LineBroken(Exception):
    """The connection is gone, and with it what was asked."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a door is, and what opens it."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class Door:
    """Answers every call by `await answer(method, *given)`, each as soon as it can; a cancelled call is cancelled."""

    def __init__(self, answer: Callable[..., Awaitable[Any]]) -> None:
        self._answer, self._secret = answer, secrets.token_bytes(SECRET_BYTES)
        self._server: asyncio.Server | None = None

    async def open(self, host: str) -> Address:
        """Listen on a free port of the address `host`, in the running event loop, as long as that runs."""
        self._server = self._server or await asyncio.start_server(self._serve, host, 0)
        return Address(host, self._server.sockets[0].getsockname()[1], self._secret)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        running = dict[int, asyncio.Task[None]]()
        try:
            if not secrets.compare_digest(await reader.readexactly(SECRET_BYTES), self._secret):
                return
            while True:
                number, call = await _read(reader)
                if call is not None:
                    running[number] = asyncio.create_task(self._one(number, call, writer))
                    running[number].add_done_callback(lambda _, number=number: running.pop(number, None))
                elif number in running:
                    running[number].cancel()
        except (IncompleteReadError, ConnectionError):
            return  # whoever asked has gone
        finally:
            for task in running.values():
                task.cancel()
            writer.close()

    async def _one(self, number: int, call: tuple[str, tuple[Any, ...]], writer: StreamWriter) -> None:
        method, given = call
        try:
            frame = _frame((number, True, await self._answer(method, *given)))
        except Exception:  # noqa: BLE001 - what went wrong here is told to whoever asked
            frame = _frame((number, False, traceback.format_exc()))
        writer.write(frame)


class Line:
    """A connection to a door, for coroutines of the event loop that made it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writer, self._numbers = writer, count()
        self._asked = dict[int, asyncio.Future[Any]]()
        self._ended = ""
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def to(cls, address: Address) -> Line:
        """Raises OSError, of which TimeoutError is one, where the door cannot be reached."""
        opening = asyncio.open_connection(address.host, address.port)
        reader, writer = await asyncio.wait_for(opening, PATIENCE)
        writer.write(address.secret)
        return cls(reader, writer)

    async def ask(self, method: str, *given: Any) -> Any:
        """What the door's `answer` returns. Raises LineBroken, or RuntimeError with the traceback of what it raised."""
        if self._ended:
            raise LineBroken(self._ended)
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(_frame((number, (method, given))))
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._ended:
                self._writer.write(_frame((number, None)))
            raise
        finally:
            del self._asked[number]

    def end(self, reason: str) -> None:
        """Close it; whoever waits gets LineBroken. Ending it twice is harmless."""
        if self._ended:
            return
        self._ended = reason
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(LineBroken(reason))
        self._writer.close()
        self._listening.cancel()

    async def _listen(self, reader: StreamReader) -> None:
        try:
            while True:
                number, good, told = await _read(reader)
                answer = self._asked.get(number)
                if answer is None or answer.done():
                    continue  # nobody waits for it any more
                if good:
                    answer.set_result(told)
                else:
                    answer.set_exception(RuntimeError(told))
        except (IncompleteReadError, ConnectionError):
            self.end("its connection broke")
        except Exception as error:  # noqa: BLE001 - unpickling runs what was sent, which may raise anything
            self.end(f"what came could not be read ({type(error).__name__}: {error})")
        finally:
            self.end("the event loop ended")


def _frame(value: Any) -> bytes:
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


async def _read(reader: StreamReader) -> Any:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return pickle.loads(await reader.readexactly(length))
