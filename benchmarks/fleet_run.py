"""Chains over a simulated fleet: who works on which chain, waves, failures and what they cost."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from random import Random

import simpy

from benchmarks.fleet import Engine, Fleet, Lost, Process, Totals
from benchmarks.fleet_chains import Call

Chains = Sequence[Sequence[Call]]


def simulate(fleet: Fleet, chains: Chains, *, seed: int = 0) -> Totals:
    """Run every chain once to its end; one that an engine took with it is begun again on whichever engine is free."""
    env, totals = simpy.Environment(), Totals()
    engines = [Engine(env, fleet.shape, totals) for _ in range(fleet.engines)]
    runner = _Waves(env, fleet, engines, chains, totals) if fleet.waves else _Free(env, fleet, engines, chains, totals)
    if fleet.failure_seconds < math.inf:
        for number, engine in enumerate(engines):
            env.process(_fails(env, engine, fleet, Random(f"{seed}-engine-{number}"), totals))
    env.run(until=runner.finished)
    totals.seconds = env.now
    return totals


def _fails(env: simpy.Environment, engine: Engine, fleet: Fleet, random: Random, totals: Totals) -> Process:
    while True:
        yield env.timeout(random.expovariate(1 / fleet.failure_seconds))
        totals.failures += 1
        yield from engine.fail(fleet.restart_seconds)


class _Free:
    """Each engine has `in_flight` places; a place that is free takes the next chain."""

    def __init__(
        self, env: simpy.Environment, fleet: Fleet, engines: Sequence[Engine], chains: Chains, totals: Totals
    ) -> None:
        self.env, self.fleet, self.chains, self.totals = env, fleet, chains, totals
        self.todo, self.finished = deque(range(len(chains))), env.event()
        self.idle = env.event()
        # Places are filled engine by engine in turn, so that few chains still spread over all engines.
        for _ in range(fleet.in_flight):
            for engine in engines:
                env.process(self._place(engine))

    def _place(self, engine: Engine) -> Process:
        while self.totals.chains < len(self.chains):
            if not self.todo:
                yield self.idle  # a failure may still give a chain back
                continue
            number, drawn = self.todo.popleft(), 0
            try:
                for call in self.chains[number]:
                    yield engine.ask(call, number)
                    drawn += call.reply
                    if self.fleet.turnaround:
                        yield self.env.timeout(self.fleet.turnaround)
            except Lost:
                self.totals.rerun_chains += 1
                self.totals.lost_tokens += drawn
                self.todo.appendleft(number)
                self._wake()
                yield engine.ready()
            else:
                self._end()

    def _end(self) -> None:
        self.totals.chains += 1
        self.totals.first_seconds = min(self.totals.first_seconds, self.env.now)
        if self.totals.chains == math.ceil(0.9 * len(self.chains)):
            self.totals.most_seconds = self.env.now
        if self.totals.chains == len(self.chains):
            self.finished.succeed()
            self._wake()

    def _wake(self) -> None:
        idle, self.idle = self.idle, self.env.event()
        idle.succeed()


class _Waves:
    """All first calls, then all second calls, and so on; chain n always on engine n modulo their number."""

    def __init__(
        self, env: simpy.Environment, fleet: Fleet, engines: Sequence[Engine], chains: Chains, totals: Totals
    ) -> None:
        if fleet.failure_seconds < math.inf:
            raise ValueError("waves are simulated without failures")
        self.env, self.engines, self.chains, self.totals = env, engines, chains, totals
        self.finished = env.process(self._stages())

    def _stages(self) -> Process:
        for stage in range(max(map(len, self.chains))):
            asked = [
                self.engines[number % len(self.engines)].ask(chain[stage], number)
                for number, chain in enumerate(self.chains)
                if stage < len(chain)
            ]
            yield self.env.all_of(asked)
        self.totals.chains = len(self.chains)
        self.totals.first_seconds = self.env.now
