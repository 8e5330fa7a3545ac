"""A server that misbehaves as told: plain HTTP over a socket, so that it can also hang, drip, cut off and reset."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from typing import Any

BEHAVIOURS = (
    "limited",
    "limited-seconds",
    "limited-date",
    "error-500",
    "error-503",
    "reset",
    "hang",
    "drip",
    "truncated",
    "html",
    "error-200",
    "no-choices",
    "null-content",
)
SERVICE_SECONDS = 0.05


def answer(text: str, **more: Any) -> dict[str, Any]:
    """A whole chat response."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


class FakeServer:
    """Asks `behave(number of the request, its JSON)` what to do: a behaviour's name, or a body to send."""

    def __init__(self, behave: Callable[[int, dict[str, Any]], str | dict[str, Any]]) -> None:
        self._behave = behave
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.answered: Counter[str] = Counter()
        """How often each conversation, its messages line by line, was answered in full."""
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive while the client likes."""
        self.connections.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                content = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
                number = len(self.asked)
                self.asked.append(content)
                self.headers.append(headers)
                await asyncio.sleep(SERVICE_SECONDS)
                if not await self._respond(writer, number, content):
                    break
        writer.close()

    async def _respond(self, writer: asyncio.StreamWriter, number: int, content: dict[str, Any]) -> bool:
        behaviour = self._behave(number, content)
        if isinstance(behaviour, dict):
            self.answered["\n".join(message["content"] for message in content["messages"])] += 1
            return await send(writer, 200, json.dumps(behaviour))
        error = json.dumps({"error": {"message": "later", "type": "x", "code": None}})
        body = json.dumps(answer("late"))
        match behaviour:
            case "limited":
                return await send(writer, 429, error)
            case "limited-seconds":
                return await send(writer, 429, error, ("Retry-After", "0.02"))
            case "limited-date":
                return await send(writer, 429, error, ("Retry-After", formatdate(usegmt=True)))
            case "limited-long":
                return await send(writer, 429, error, ("Retry-After", "4000"))
            case "error-500" | "error-503" | "error-400" | "error-401":
                return await send(writer, int(behaviour[-3:]), error)
            case "too-long":
                text = json.dumps({"error": {"message": "This model's maximum context length is 8 tokens"}})
                return await send(writer, 400, text)
            case "reset":
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case "hang":
                await asyncio.sleep(3600)
            case "drip":
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                for letter in body:
                    writer.write(letter.encode())
                    await writer.drain()
                    await asyncio.sleep(0.2)  # longer in all than any timeout of a test
            case "truncated":
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body[:40]}".encode())
                await writer.drain()
            case "html":
                return await send(writer, 200, "<html><body>Bad gateway</body></html>", ("Content-Type", "text/html"))
            case "error-200":
                return await send(writer, 200, error)
            case "no-choices":
                return await send(writer, 200, json.dumps({**answer(""), "choices": []}))
            case "null-content":
                return await send(writer, 200, json.dumps(answer("")).replace('"content": ""', '"content": null'))
            case _:
                raise AssertionError(behaviour)
        return False


async def send(writer: asyncio.StreamWriter, status: int, body: str, *headers: tuple[str, str]) -> bool:
    """A whole response."""
    named = {"Content-Type": "application/json", **dict(headers), "Content-Length": str(len(body.encode()))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n{body}".encode())
    await writer.drain()
    return True


@asynccontextmanager
async def running(behave: Callable[[int, dict[str, Any]], str | dict[str, Any]]) -> AsyncIterator[FakeServer]:
    """A fake server on a free port of the loopback interface."""
    fake = FakeServer(behave)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.connections:
            writer.close()
