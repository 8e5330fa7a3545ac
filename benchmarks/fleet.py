"""A discrete-event simulation of chains on many engines: continuous batching, prefix caches, waves, failures.

An engine runs steps. A step computes the prompts that have just joined (those of their tokens that are not cached) and
one token for every request that is drawing, and takes `StepCost.seconds`. Between two events of an engine (a request
joins, a request ends) its steps only grow by their contexts, so the simulation leaps over them and stays exact.
Pure: no clock, no files; equal arguments give equal results. Time is in seconds, lengths in tokens.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from benchmarks.fleet_chains import Call

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of one step: fixed, and linear in what it does; at least `floor` (the weights are read once a step)."""

    step: float
    token: float
    """Of each request that draws."""
    context: float
    """Of each token of context, over all requests that draw."""
    prefill: float
    """Of each prompt token computed."""
    floor: float = 0.0

    def seconds(self, drawing: int, context: int, prefill: int = 0) -> float:
        """One step."""
        return max(self.floor, self.step + drawing * self.token + context * self.context + prefill * self.prefill)

    def leap(self, steps: int, drawing: int, context: int) -> float:
        """So many steps in a row that only draw; each adds `drawing` tokens to the context."""
        first, growth = self.step + drawing * self.token + context * self.context, drawing * self.context
        low = 0
        if first < self.floor:
            missing = self.floor - first
            low = math.ceil(missing / growth) if missing < growth * steps else steps
        sum_of = (steps * (steps - 1) - low * (low - 1)) / 2
        return low * self.floor + (steps - low) * first + growth * sum_of


@dataclass(frozen=True, slots=True)
class EngineShape:
    """What one engine can hold."""

    cost: StepCost
    seats: int = 256
    """Requests that draw at once."""
    kv_tokens: int = 1_000_000
    """Tokens of context that fit, running and remembered."""
    block: int = 16
    prefill_tokens: int = 8192
    """Prompt tokens computed in one step, at most; a longer prompt has a step of its own."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Engines and how work reaches them."""

    engines: int
    shape: EngineShape
    in_flight: int
    """Chains at a time on each engine."""
    waves: bool = False
    """All chains finish one call before any begins the next, over the whole fleet; chains are not bounded then."""
    turnaround: float = 0.0
    """Seconds from a reply to the chain's next request."""
    failure_seconds: float = math.inf
    """Mean time between an engine's failures (exponential)."""
    restart_seconds: float = 0.0


@dataclass(slots=True)
class Totals:
    """What a simulated run did. Tokens of work that a failure took away are counted in `lost_tokens` as well."""

    seconds: float = 0.0
    first_seconds: float = math.inf
    most_seconds: float = 0.0
    """When nine chains in ten had ended: before the fleet began to run dry."""
    chains: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    drawn_tokens: int = 0
    failures: int = 0
    rerun_chains: int = 0
    lost_tokens: int = 0

    @property
    def cached_share(self) -> float:
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def chains_per_second(self) -> float:
        return self.chains / self.seconds if self.seconds else 0.0


class Lost(Exception):
    """The engine failed while it held this request."""


@dataclass(eq=False, slots=True)
class _Request:
    call: Call
    chain: int
    done: simpy.Event


@dataclass(eq=False)
class Engine:
    """One engine as a process of the simulation."""

    env: simpy.Environment
    shape: EngineShape
    totals: Totals
    waiting: list[tuple[int, int, _Request]] = field(default_factory=list[tuple[int, int, _Request]])
    """A heap: the conversation with the most turns first, then as they came."""
    running: list[tuple[int, int, _Request]] = field(default_factory=list[tuple[int, int, _Request]])
    """A heap: the step at whose end a request has drawn its last token, a number of its own, the request."""
    remembered: OrderedDict[int, int] = field(default_factory=OrderedDict[int, int])
    """Tokens of finished calls by chain, the least recently used first."""
    up: bool = True

    def __post_init__(self) -> None:
        self._wake, self._back = self.env.event(), self.env.event()
        self._held, self._kept = 0, 0  # tokens of memory that run, and that are remembered
        self._step, self._context, self._joined, self._asked = 0, 0, 0, 0
        self.process = self.env.process(self._run())

    def ask(self, call: Call, chain: int) -> simpy.Event:
        """Queue a request; the event succeeds with its end and fails with `Lost`."""
        request = _Request(call, chain, self.env.event())
        self._asked += 1
        heapq.heappush(self.waiting, (-call.turns, self._asked, request))
        if not self._wake.triggered:
            self._wake.succeed()
        return request.done

    def ready(self) -> simpy.Event:
        """Succeeds once the engine is up."""
        return self._back if not self.up else self.env.timeout(0)

    def fail(self, restart_seconds: float) -> Process:
        """Lose everything that is held, and come back with an empty cache."""
        self.up, self._back = False, self.env.event()
        self.process.interrupt()
        held = [request for _, _, request in (*self.running, *self.waiting)]
        self.running.clear()
        self.waiting.clear()
        self.remembered.clear()
        self._held = self._kept = self._context = 0
        for request in held:
            request.done.fail(Lost())
        yield self.env.timeout(restart_seconds)
        self.up = True
        self._back.succeed()
        self.process = self.env.process(self._run())

    def _run(self) -> Process:
        try:
            while True:
                if not self.running and not self.waiting:
                    self._wake = self.env.event()
                    yield self._wake
                joined = self._admit()
                if joined:
                    yield from self._prefill(joined)
                else:
                    yield from self._draw()
                yield self.env.timeout(0)  # chains whose call has just ended ask again before the next step
        except simpy.Interrupt:
            return

    def _admit(self) -> list[tuple[_Request, int]]:
        """Requests that join now, each with the prompt tokens to compute."""
        joined, budget = list[tuple[_Request, int]](), self.shape.prefill_tokens
        while self.waiting and len(self.running) + len(joined) < self.shape.seats:
            request = self.waiting[0][2]
            call, needed = request.call, _own_tokens(request.call)
            if self._held + needed > self.shape.kv_tokens and (self.running or joined):
                break
            cached = call.cached(chain_is_kept=request.chain in self.remembered, block=self.shape.block)
            if joined and call.prompt - cached > budget:
                break
            heapq.heappop(self.waiting)
            self._kept -= self.remembered.pop(request.chain, 0)
            self._held += needed
            self._forget()
            budget -= call.prompt - cached
            self.totals.prompt_tokens += call.prompt
            self.totals.cached_tokens += cached
            joined.append((request, call.prompt - cached))
        return joined

    def _forget(self) -> None:
        """Drop what was remembered longest ago until everything fits."""
        while self.remembered and self._held + self._kept > self.shape.kv_tokens:
            self._kept -= self.remembered.popitem(last=False)[1]

    def _prefill(self, joined: list[tuple[_Request, int]]) -> Process:
        """One step that computes prompts beside the drawing; it draws the first token of those that joined."""
        seconds = self.shape.cost.seconds(len(self.running), self._context, sum(tokens for _, tokens in joined))
        for request, _ in joined:
            self._joined += 1
            self._context += request.call.prompt
            heapq.heappush(self.running, (self._step + request.call.reply, self._joined, request))
        yield self.env.timeout(seconds)
        self._advance(1, seconds)

    def _draw(self) -> Process:
        """Steps until a request ends, or until the end of the step in which another one arrives."""
        cost, drawing, context = self.shape.cost, len(self.running), self._context
        steps = self.running[0][0] - self._step
        began, seconds = self.env.now, cost.leap(steps, drawing, context)
        self._wake = self.env.event()
        full = drawing >= self.shape.seats
        yield self.env.timeout(seconds) if full else self.env.timeout(seconds) | self._wake
        passed = self.env.now - began
        if passed < seconds and steps > 1:
            low, high = 1, steps
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if cost.leap(middle, drawing, context) >= passed else (middle + 1, high)
            steps, seconds = low, cost.leap(low, drawing, context)
        yield self.env.timeout(max(0.0, seconds - passed))
        self._advance(steps, seconds)

    def _advance(self, steps: int, seconds: float) -> None:
        """Every running request has drawn `steps` tokens."""
        self._step += steps
        self._context += steps * len(self.running)
        self.totals.steps += steps
        self.totals.busy_seconds += seconds
        self.totals.drawn_tokens += steps * len(self.running)
        while self.running and self.running[0][0] <= self._step:
            request = heapq.heappop(self.running)[2]
            tokens = _own_tokens(request.call)
            self._context -= request.call.prompt + request.call.reply
            self._held -= tokens
            self._kept += tokens
            self.remembered[request.chain] = tokens
            request.done.succeed()
        self._forget()


def _own_tokens(call: Call) -> int:
    """Memory of a request at its end, without what it shares with other chains."""
    return call.prompt - call.shared + call.reply
