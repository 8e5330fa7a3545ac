"""Drives a vLLM whose engine runs in processes of its own (`AsyncLLM`): models and batches split over several GPUs.

`AsyncLLM` belongs to one event loop, chains may come from any: it gets a loop on a thread of ours.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cai.engine.affinity import Affinity
from cai.engine.stepping import Output, read_output, sampling_params
from cai.errors import EngineDown, RecordFault

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
PIECE = 64
"""Tokens by which the starts of conversations are told apart when a replica is chosen."""
MEMORY = Path("/dev/shm")


class Processes:
    """One `AsyncLLM`. Its replicas (data parallel) get requests by what they have in their caches."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._numbers, self._running = count(), 0
        self._tasks = set[asyncio.Task[Any]]()
        self._replicas: list[int] = [0] * arguments["data_parallel_size"]
        self._affinity: Affinity[int] = Affinity(slack=max(1, arguments["max_num_seqs"] // 4))
        self._closed: str | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._open, self._idle, self._alone = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._open.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self.engine = asyncio.run_coroutine_threadsafe(_started(arguments), self._loop).result()
        except BaseException:
            self._end()
            raise

    async def request(
        self, ids: Sequence[int], sampling: dict[str, Any], lora: Any = None, priority: int = 0
    ) -> Output:
        """As `Driver`."""
        return await self._there(self._generate(tuple(ids), sampling, {"lora_request": lora, "priority": priority}))

    async def update(self, weights: list[tuple[str, Tensor]]) -> None:
        """As `Driver`. Weights reach the processes through files in memory, where the system has such files."""
        await self._there(self._update(weights))

    async def forget(self) -> None:
        """As `Driver`."""
        await self._there(self._forget())

    async def rest(self) -> None:
        """As `Driver`; requests wait until `wake`."""
        await self._there(self._rest())

    async def wake(self) -> None:
        """As `Driver`."""
        await self._there(self._wake())

    def close(self) -> None:
        """As `Driver`; ends the processes."""
        with self._lock:
            first, self._closed = self._closed is None, self._closed or "it was closed"
        if first:
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
            self._end()

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop of our thread, in the order of the calls; cancelling the caller cancels the work."""
        with self._lock:
            if self._closed is not None:
                work.close()
                raise EngineDown(f"vLLM has stopped: {self._closed}")
            future = asyncio.run_coroutine_threadsafe(self._known(work), self._loop)
        return await asyncio.wrap_future(future)

    async def _known(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await work

    async def _generate(self, ids: tuple[int, ...], sampling: dict[str, Any], options: dict[str, Any]) -> Output:
        while not self._open.is_set():
            await self._open.wait()
        starts = _starts(ids)
        replica = self._affinity.pick(starts, range(len(self._replicas)), lambda one: self._replicas[one])
        self._running += 1
        self._replicas[replica] += 1
        try:
            return await self._finished(ids, sampling, options, replica)
        finally:
            self._running -= 1
            self._replicas[replica] -= 1
            if not self._running:
                self._idle.set()

    async def _finished(
        self, ids: tuple[int, ...], sampling: dict[str, Any], options: dict[str, Any], replica: int
    ) -> Output:
        from vllm.v1.engine.exceptions import EngineDeadError  # pyright: ignore[reportMissingImports]

        prompt, name = {"prompt_token_ids": list(ids)}, str(next(self._numbers))
        rank = {"data_parallel_rank": replica} if len(self._replicas) > 1 else {}
        try:
            told = self.engine.generate(prompt, sampling_params(sampling), name, **options, **rank)
            return read_output([output async for output in told][-1])
        except (EngineDeadError, EngineDown) as error:
            self._closed = self._closed or "a process of its engine died"
            raise EngineDown(f"vLLM has stopped: {self._closed}; run the same command again to go on") from error
        except RecordFault:
            raise
        except Exception as error:
            # Versions differ in what they raise for a request they refuse.
            raise RecordFault(f"vLLM refuses this request: {error.__cause__ or error}") from error

    async def _update(self, weights: list[tuple[str, Tensor]]) -> None:
        from safetensors.torch import save_file

        async with self._alone:
            await self._quiet()
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
                save_file(_apart(weights), Path(folder) / "model.safetensors")
                await self.engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            await self.engine.reset_prefix_cache()
            self._open.set()

    async def _forget(self) -> None:
        async with self._alone:
            await self._quiet()
            await self.engine.reset_prefix_cache()
            self._open.set()

    async def _rest(self) -> None:
        async with self._alone:
            await self._quiet()
            await self.engine.sleep(level=1)

    async def _wake(self) -> None:
        async with self._alone:
            await self.engine.wake_up()
            self._open.set()

    async def _quiet(self) -> None:
        """Hold back new requests and wait for those that run."""
        self._open.clear()
        while self._running:
            self._idle.clear()
            await self._idle.wait()

    async def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.engine.shutdown()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _started(arguments: dict[str, Any]) -> Any:
    from vllm import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def _apart(weights: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The weights on the CPU; tied ones are copied, since a file holds no tensor twice."""
    found, seen = dict[str, Any](), set[int]()
    for name, weight in weights:
        there = weight.detach().cpu().contiguous()
        found[name] = there.clone() if there.data_ptr() in seen else there
        seen.add(there.data_ptr())
    return found


def _starts(ids: tuple[int, ...]) -> list[int]:
    """A name for each start of the ids that is a whole number of pieces, shortest first."""
    names = list[int]()
    for end in range(PIECE, len(ids) + 1, PIECE):
        names.append(hash((names[-1] if names else 0, ids[end - PIECE : end])))
    return names
