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
    """What the bare engine did.

    `shape` of each step is processor seconds, which others on the same core do not disturb, requests that drew, their
    context, and prompt tokens.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0
    shape: list[tuple[float, int, int, int]] = field(default_factory=list[tuple[float, int, int, int]])


def same_requests(around: Around, *, seeded: bool) -> list[Request]:
    """Everything that was asked, in that order, without what it depended on."""
    requests = list[Request]()
    for turns, sampling, completion in around.asked.values():
        seed = sampling.seed if seeded else None
        requests.append(Request(around.inner.encode(turns), completion.usage.completion_tokens, seed))
    return requests


def run_bare(engine: VllmEngine, requests: Sequence[Request], *, shaped: bool = False) -> Bare:
    """All requests at once, on the engine's own thread; only adding, stepping and collecting finished ones.

    With `shaped` every step's output is looked at, for the shape of the step.
    """
    return _on_its_thread(engine, lambda llm: _shaped_steps(llm, requests) if shaped else _steps(llm, requests))


def steps_of(engine: VllmEngine) -> int:
    """Steps so far."""
    return engine._driver.steps  # type: ignore[attr-defined]


def _on_its_thread(engine: VllmEngine, work: Callable[[Any], Bare]) -> Bare:
    async def call() -> Bare:
        return await engine._driver.call(lambda: work(engine._engine))  # type: ignore[attr-defined]

    return asyncio.run(call())


def _add(llm: Any, requests: Sequence[Request], **more: Any) -> dict[str, int]:
    """Hand all requests over; prompt lengths by name."""
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

    for number, request in enumerate(requests):
        sampling = SamplingParams(
            temperature=1.0, seed=request.seed, max_tokens=request.tokens, ignore_eos=True, detokenize=False, **more
        )
        llm.add_request(f"bare-{number}", {"prompt_token_ids": list(request.ids)}, sampling)
    return {f"bare-{number}": len(request.ids) for number, request in enumerate(requests)}


def _steps(llm: Any, requests: Sequence[Request]) -> Bare:
    from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

    done, began, cpu = Bare(), time.perf_counter(), time.process_time()
    _add(llm, requests, output_kind=RequestOutputKind.FINAL_ONLY)
    finished = 0
    while llm.has_unfinished_requests():
        finished += len(llm.step())
        done.steps += 1
    assert finished == len(requests)
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return done


def _shaped_steps(llm: Any, requests: Sequence[Request]) -> Bare:
    done, began = Bare(), time.perf_counter()
    left, drawn = _add(llm, requests), dict[str, int]()
    while llm.has_unfinished_requests():
        step_began = time.process_time()
        outputs = llm.step()
        seconds = time.process_time() - step_began
        old = [output for output in outputs if output.request_id in drawn]
        new = [output for output in outputs if output.request_id not in drawn]
        context = sum(left[output.request_id] + drawn[output.request_id] for output in old)
        computed = sum(left[output.request_id] - (output.num_cached_tokens or 0) for output in new)
        done.shape.append((seconds, len(old), context, computed))
        for output in outputs:
            drawn[output.request_id] = len(output.outputs[0].token_ids)
    done.seconds, done.steps = time.perf_counter() - began, len(done.shape)
    return done


def most_cached(around: Around) -> float:
    """Share of prompt tokens that an endless cache without blocks would have: what layout and lengths allow.

    Its own drawn tokens count as cached, and so does whatever any earlier prompt began with.
    """
    known, found, whole = _Trie(), 0, 0
    for turns, _, completion in around.asked.values():
        ids = around.inner.encode(turns)
        # The last token of a prompt is computed in any case: its output is what the first drawn token comes from.
        found += min(known.common(ids), len(ids) - 1)
        whole += len(ids)
        known.add((*ids, *completion.token_ids))
    return found / whole


class _Trie:
    """Token sequences by the hashes of all their beginnings."""

    def __init__(self) -> None:
        self._starts: set[int] = set()

    def add(self, ids: tuple[int, ...]) -> None:
        name = 0
        for token in ids:
            name = hash((name, token))
            self._starts.add(name)

    def common(self, ids: tuple[int, ...]) -> int:
        name = 0
        for count, token in enumerate(ids):
            name = hash((name, token))
            if name not in self._starts:
                return count
        return len(ids)
