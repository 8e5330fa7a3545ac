"""Calls over a connection: out of order, cancelled, failing, cut off, and from someone who has no business here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cai.engine.wire import Address, Door, Line, LineBroken

HOST = "127.0.0.1"


class Unreadable:
    """Goes out well; whoever reads it gets a ValueError."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


class Answers:
    """What a door answers with; says what was begun and what was cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = list[str](), list[str]()

    async def __call__(self, method: str, *given: Any) -> Any:
        self.begun.append(method)
        try:
            match method:
                case "echo":
                    return given
                case "later":
                    await asyncio.sleep(0.05)
                    return given
                case "fail":
                    raise ValueError("no such thing")
                case "unreadable":
                    return Unreadable()
                case "unsendable":
                    return lambda: None
                case _:
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(method)
            raise


def connected(use: Callable[[Line, Answers, Address], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        answers = Answers()
        address = await Door(answers).open(HOST)
        line = await Line.to(address)
        try:
            return await asyncio.wait_for(use(line, answers, address), 30)
        finally:
            line.end("done")

    return asyncio.run(run())


async def until(ready: Callable[[], object]) -> None:
    while not ready():
        await asyncio.sleep(0.01)


def test_each_call_gets_its_own_answer_whichever_comes_first() -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        ended = list[str]()

        async def ask(method: str, *given: Any) -> Any:
            answer = await line.ask(method, *given)
            ended.append(method)
            return answer

        large = b"x" * (3 << 20)
        found = await asyncio.gather(ask("later", 1), ask("echo", large, ("a", None)), ask("echo"))
        assert found == [(1,), (large, ("a", None)), ()]
        assert ended[-1] == "later"

    connected(use)


def test_a_cancelled_call_is_cancelled_there_and_the_others_go_on() -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        waiting = asyncio.create_task(line.ask("for ever"))
        await until(lambda: answers.begun)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: answers.cancelled == ["for ever"])
        assert await line.ask("echo", 2) == (2,)

    connected(use)


@pytest.mark.parametrize(("method", "said"), [("fail", "ValueError: no such thing"), ("unsendable", "pickle")])
def test_what_goes_wrong_there_is_told_here(method: str, said: str) -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        with pytest.raises(RuntimeError, match=said):
            await line.ask(method)
        assert await line.ask("echo", 3) == (3,)

    connected(use)


def test_whoever_waits_hears_that_the_connection_ended() -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        waiting = [asyncio.create_task(line.ask("for ever")) for _ in range(3)]
        await until(lambda: len(answers.begun) == 3)
        line.end("the machine is gone")
        line.end("and gone")
        found = await asyncio.gather(*waiting, line.ask("echo"), return_exceptions=True)
        assert [(type(one), str(one)) for one in found] == [(LineBroken, "the machine is gone")] * 4
        # The door does not work on for someone who has left.
        await until(lambda: len(answers.cancelled) == 3)

    connected(use)


def test_a_door_that_closes_its_connections_is_noticed() -> None:
    async def run() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(60)
            writer.close()

        server = await asyncio.start_server(hang_up, HOST, 0)
        line = await Line.to(Address(HOST, server.sockets[0].getsockname()[1], b"s" * 32))
        with pytest.raises(LineBroken, match="its connection broke"):
            await asyncio.wait_for(line.ask("echo", "a long word"), 30)
        server.close()

    asyncio.run(run())


def test_nothing_is_read_from_whoever_has_another_secret() -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        other = await Line.to(Address(address.host, address.port, b"?" * 32))
        with pytest.raises(LineBroken):
            await other.ask("echo", 4)
        assert answers.begun == []
        assert await line.ask("echo", 5) == (5,)

    connected(use)


def test_the_secret_is_not_shown() -> None:
    assert "hidden" not in repr(Address(HOST, 1, b"hidden"))


def test_nobody_there_is_an_os_error() -> None:
    async def run() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError, match=str(port)):
            await Line.to(Address(HOST, port, b""))

    asyncio.run(run())


def test_an_answer_that_cannot_be_read_ends_the_connection_with_its_reason() -> None:
    async def use(line: Line, answers: Answers, address: Address) -> Any:
        with pytest.raises(LineBroken, match=r"could not be read \(ValueError: invalid literal"):
            await line.ask("unreadable")
        with pytest.raises(LineBroken, match="could not be read"):
            await line.ask("echo")

    connected(use)
