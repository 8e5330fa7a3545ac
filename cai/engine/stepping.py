"""The thread that steps vLLM's engine: requests join between two steps, each answered on its own future."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cai.errors import EngineDown, RecordFault

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Output:
    """A finished request; `logprobs` is one mapping of token to log-prob per drawn token, where they were asked for."""

    token_ids: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]
    cached_tokens: int


class Driver(Protocol):
    """Runs requests on a vLLM, wherever its engine is."""

    async def request(
        self, ids: Sequence[int], sampling: dict[str, Any], lora: Any = None, priority: int = 0
    ) -> Output:
        """Run one request, `sampling` being the arguments of `SamplingParams`; of those that wait, the lowest first.

        Cancelling the awaiting task cancels the request. Raises RecordFault where vLLM refuses it, EngineDown.
        """
        ...

    async def update(self, weights: list[tuple[str, Tensor]]) -> None:
        """Replace weights after the requests before and before those after; forgets every prefix."""
        ...

    async def forget(self) -> None:
        """Drop every prefix, in that order too."""
        ...

    async def rest(self) -> None:
        """Give up the GPU's memory once the requests before it are done; weights wait in the machine's own memory."""
        ...

    async def wake(self) -> None:
        """Take the memory back."""
        ...

    def close(self) -> None:
        """Stop; what still runs is cancelled."""
        ...


class Loras:
    """vLLM's handles of adapter folders; the same folder gives the same handle."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()

    def of(self, folder: str) -> Any:
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        with self._lock:
            if folder not in self._known:
                self._known[folder] = LoRARequest(folder, len(self._known) + 1, folder)
            return self._known[folder]


def sampling_params(sampling: dict[str, Any]) -> Any:
    """vLLM's parameters; only the finished reply is told, as tokens."""
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
    from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

    return SamplingParams(detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **sampling)


@dataclass(eq=False, slots=True)
class _Request:
    ids: tuple[int, ...]
    sampling: dict[str, Any]
    lora: Any
    priority: int
    future: Future[Output]


@dataclass(eq=False, slots=True)
class _Call:
    work: Callable[[], Any]
    future: Future[Any]


class Stepper:
    """Owns an `LLMEngine`; only its thread touches it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[_Request | _Call | None] = queue.SimpleQueue()
        self._running: dict[str, _Request] = {}
        self._held: list[_Request | _Call] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._closed: str | None = None
        self.steps = 0
        self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
        self._thread.start()

    async def request(
        self, ids: Sequence[int], sampling: dict[str, Any], lora: Any = None, priority: int = 0
    ) -> Output:
        """As `Driver`."""
        request = _Request(tuple(ids), sampling, lora, priority, Future())
        self._put(request)
        return await asyncio.wrap_future(request.future)

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` on the thread once the requests before it are done and before those after it begin."""
        task = _Call(work, Future())
        self._put(task)
        return await asyncio.wrap_future(task.future)

    async def update(self, weights: list[tuple[str, Tensor]]) -> None:
        """As `Driver`."""

        def work() -> None:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
            self._engine.reset_prefix_cache()

        await self.call(work)

    async def forget(self) -> None:
        """As `Driver`."""
        await self.call(self._engine.reset_prefix_cache)

    async def rest(self) -> None:
        """As `Driver`."""
        await self.call(lambda: self._engine.sleep(level=1))

    async def wake(self) -> None:
        """As `Driver`."""
        await self.call(lambda: self._engine.wake_up())

    def close(self) -> None:
        """Stop after the current step; what still runs is cancelled."""
        with self._lock:
            if self._closed is None:
                self._closed = "it was closed"
                self._inbox.put(None)
        self._thread.join()

    def _put(self, item: _Request | _Call) -> None:
        with self._lock:
            if self._closed is not None:
                raise EngineDown(f"vLLM has stopped: {self._closed}")
            self._inbox.put(item)

    def _run(self) -> None:
        try:
            while self._receive():
                for name in [name for name, request in self._running.items() if request.future.cancelled()]:
                    del self._running[name]
                    self._engine.abort_request([name])
                if self._running:
                    self._step()
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
            self._fail(f"{type(error).__name__}: {error}")
        else:
            for item in (*self._running.values(), *self._held):
                item.future.cancel()

    def _receive(self) -> bool:
        """Start what has arrived, in order; a call holds back what comes after it. False once closed."""
        while True:
            idle = not self._running and not self._held
            try:
                item = self._inbox.get(block=idle)
            except queue.Empty:
                break
            if item is None:
                return False
            self._held.append(item)
        while self._held:
            item = self._held[0]
            if isinstance(item, _Call):
                if self._running:
                    return True
                _finish(item.future, item.work)
            else:
                self._start(item)
            self._held.pop(0)
        return True

    def _start(self, request: _Request) -> None:
        name = str(next(self._numbers))
        prompt = {"prompt_token_ids": list(request.ids)}
        try:
            params = sampling_params(request.sampling)
            self._engine.add_request(name, prompt, params, lora_request=request.lora, priority=request.priority)
        except Exception as error:  # noqa: BLE001 - versions differ in what they raise for a request they refuse
            request.future.set_exception(RecordFault(f"vLLM refuses this request: {error}"))
        else:
            self._running[name] = request

    def _step(self) -> None:
        self.steps += 1
        for output in self._engine.step():
            if output.finished and (request := self._running.pop(output.request_id, None)) is not None:
                _finish(request.future, lambda output=output: read_output(output))

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._closed = reason
        items = [*self._running.values(), *self._held]
        while not self._inbox.empty():
            item = self._inbox.get()
            items += [] if item is None else [item]
        for item in items:
            if not item.future.done() and item.future.set_running_or_notify_cancel():
                item.future.set_exception(EngineDown(f"vLLM has stopped: {reason}"))


def read_output(output: Any) -> Output:
    """What we keep of a `RequestOutput`.

    Raises RecordFault for one that ended in an error, EngineDown for one that vLLM broke off: it does so with what runs
    when one of its processes dies, and the request is not to blame.
    """
    choice = output.outputs[0]
    if choice.finish_reason == "abort":
        raise EngineDown("vLLM has stopped: it broke off what was running")
    if choice.finish_reason not in ("stop", "length"):
        raise RecordFault(f"vLLM ended the request with {choice.finish_reason}")
    shown = choice.logprobs or []
    logprobs = tuple({token: entry.logprob for token, entry in position.items()} for position in shown)
    return Output(tuple(choice.token_ids), logprobs, output.num_cached_tokens or 0)


def _finish(future: Future[Any], work: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked for the work
            future.set_exception(error)
