"""Pieces of the vLLM measurements: engines around an engine, and the bare engine without chains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from benchmarks.fleet_chains import heavy_tailed
from cai.engine.protocol import Completion, OptionScores, Sampling, Turn
from cai.engine.vllm_engine import VllmEngine


@dataclass(frozen=True)
class Lengths:
    """How long replies are: log-normal, cut at `most`; `sigma` 0 makes them all `mean` long."""

    mean: float
    sigma: float
    most: int

    def of(self, sampling: Sampling) -> int:
        """The length of the call with this seed: the same in every way of running it."""
        return heavy_tailed(Random(sampling.seed), mean=self.mean, sigma=self.sigma, most=self.most)


class Around:
    """An engine that passes everything on; what comes back is kept by seed."""

    def __init__(self, inner: VllmEngine, lengths: Lengths | None = None) -> None:
        self.inner, self.lengths = inner, lengths
        self.model, self.fingerprint, self.context_length = inner.model, inner.fingerprint, inner.context_length
        self.asked: dict[int, tuple[tuple[Turn, ...], Sampling, Completion]] = {}

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        return self.inner.count_tokens(turns, prefill)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        if self.lengths:
            sampling = replace(sampling, max_tokens=self.lengths.of(sampling))
        completion = await self.inner.generate(turns, sampling, prefill=prefill)
        self.asked[sampling.seed] = (turns, sampling, completion)
        return completion

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        return await self.inner.option_logprobs(turns, options, prefill=prefill)

    async def close(self) -> None:
        return None


class InWaves(Around):
    """Holds every request until none is running: stage by stage, as a loop over a data set would run them."""

    def __init__(self, inner: VllmEngine, lengths: Lengths | None) -> None:
        super().__init__(inner, lengths)
        self._waiting, self._running, self._gate = 0, 0, asyncio.Event()

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        self._waiting += 1
        self._open_soon()
        await self._gate.wait()
        completion = await super().generate(turns, sampling, prefill=prefill)
        self._running -= 1
        # Nothing is awaited between a reply and its chain's next request, so all others are at the gate by then.
        self._open_soon()
        return completion

    def _open_soon(self) -> None:
        if not self._running:
            asyncio.get_running_loop().call_soon(self._open)

    def _open(self) -> None:
        if self._waiting and not self._running:
            self._waiting, self._running = 0, self._waiting
            gate, self._gate = self._gate, asyncio.Event()
            gate.set()


class Replayed(Around):
    """Answers at once with what another one was answered; rendering and tokenising are done all the same."""

    def __init__(self, other: Around) -> None:
        super().__init__(other.inner)
        self.known = other.asked

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        self.inner.encode(turns, prefill)
        return self.known[sampling.seed][2]


@dataclass(frozen=True)
class Request:
    """One request of the bare engine: exactly `tokens` are drawn."""

    ids: tuple[int, ...]
    tokens: int
    seed: int | None


@dataclass
class Bare:
    """What the bare engine did; `shape` of each step is seconds, requests that drew, their context, prompt tokens."""

    seconds: float = 0.0
    shape: list[tuple[float, int, int, int]] = field(default_factory=list[tuple[float, int, int, int]])


def same_requests(around: Around, *, seeded: bool) -> list[Request]:
    """Everything that was asked, in that order, without what it depended on."""
    requests = list[Request]()
    for turns, sampling, completion in around.asked.values():
        seed = sampling.seed if seeded else None
        requests.append(Request(around.inner.encode(turns), completion.usage.completion_tokens, seed))
    return requests


def run_bare(engine: VllmEngine, requests: Sequence[Request]) -> Bare:
    """All requests at once, on the engine's own thread; only adding, stepping and collecting."""
    return _on_its_thread(engine, lambda llm: _steps(llm, requests))


def steps_of(engine: VllmEngine) -> int:
    """Steps so far."""
    return engine._stepper.steps


def _on_its_thread(engine: VllmEngine, work: Callable[[Any], Bare]) -> Bare:
    async def call() -> Bare:
        return await engine._stepper.call(lambda: work(engine._engine))

    return asyncio.run(call())


def _steps(llm: Any, requests: Sequence[Request]) -> Bare:
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

    done, began = Bare(), time.perf_counter()
    left = dict[str, int]()
    for number, request in enumerate(requests):
        sampling = SamplingParams(
            temperature=1.0, seed=request.seed, max_tokens=request.tokens, ignore_eos=True, detokenize=False
        )
        llm.add_request(f"bare-{number}", {"prompt_token_ids": list(request.ids)}, sampling)
        left[f"bare-{number}"] = len(request.ids)
    drawn = dict[str, int]()
    while llm.has_unfinished_requests():
        step_began = time.perf_counter()
        outputs = llm.step()
        seconds = time.perf_counter() - step_began
        old = [output for output in outputs if output.request_id in drawn]
        new = [output for output in outputs if output.request_id not in drawn]
        context = sum(left[output.request_id] + drawn[output.request_id] for output in old)
        computed = sum(left[output.request_id] - (output.num_cached_tokens or 0) for output in new)
        done.shape.append((seconds, len(old), context, computed))
        for output in outputs:
            drawn[output.request_id] = len(output.outputs[0].token_ids)
    done.seconds = time.perf_counter() - began
    return done
