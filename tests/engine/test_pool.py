"""The pool of workers, against workers that die when they are told to: no Ray, no processes."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from cai.cli.engines import check_engine
from cai.config import load_settings
from cai.config.engine import EngineSettings
from cai.engine import EngineDown, RecordFault, Turn
from cai.engine.pool import Pool, WorkerLost
from cai.errors import InputError


class Puppet:
    """A worker that answers with its number; it dies of `poison`, and never starts where it is `broken`."""

    def __init__(self, number: int, poison: tuple[str, ...] = (), broken: Exception | None = None) -> None:
        self.number, self._poison, self._broken = number, poison, broken
        self.dead: asyncio.Future[None] | None = None
        self.most = self.now = 0
        self.asked: list[str] = []
        self.stopped = False

    async def ready(self) -> None:
        await asyncio.sleep(0)
        self.dead = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            raise self._broken

    def die(self) -> None:
        assert self.dead is not None
        if not self.dead.done():
            self.dead.set_result(None)

    async def ask(self, text: str, seconds: float = 0.002) -> int:
        assert self.dead is not None
        self.asked.append(text)
        self.now += 1
        self.most = max(self.most, self.now)
        if text in self._poison:
            self.die()
        try:
            await asyncio.wait_for(asyncio.shield(self.dead), seconds)
        except TimeoutError:
            return self.number
        finally:
            self.now -= 1
        raise WorkerLost(f"number {self.number} was killed")

    def stop(self) -> None:
        self.stopped = True


class Bench:
    """A pool of puppets and everything that happened to it."""

    def __init__(
        self, size: int = 2, in_flight: int = 4, *, poison: tuple[str, ...] = (), patience: float = 5.0
    ) -> None:
        self.made: list[Puppet] = []
        self.told: list[str] = []
        self.fault: Callable[[int], Exception | None] = lambda number: None

        def start() -> Puppet:
            self.made.append(Puppet(len(self.made), poison, self.fault(len(self.made))))
            return self.made[-1]

        self._start = start
        self.pool = Pool(start, size, in_flight, patience, self.told.append)

    async def ask(self, *texts: str) -> int:
        turns = tuple(Turn("user", text) for text in texts)
        return await self.pool.run(turns, lambda puppet: puppet.ask(texts[-1]))


def test_work_is_shared_and_never_more_than_asked_for_is_in_flight() -> None:
    async def run(bench: Bench) -> list[int]:
        return list(await asyncio.gather(*(bench.ask(f"prompt {number}") for number in range(80))))

    bench = Bench(size=3, in_flight=4)
    answers = asyncio.run(run(bench))
    assert all(count >= 20 for count in Counter(answers).values())
    assert [puppet.most for puppet in bench.made] == [4, 4, 4]


def test_a_chains_turns_go_where_its_start_was_asked() -> None:
    async def chain(bench: Bench, number: int) -> set[int]:
        turns = [f"prompt {number}", "reply", "critique?", "critique", "revise?"]
        return {await bench.ask(*turns[:end]) for end in (1, 3, 5)}

    async def run(bench: Bench) -> list[set[int]]:
        return list(await asyncio.gather(*(chain(bench, number) for number in range(24))))

    places = asyncio.run(run(Bench(size=3, in_flight=16)))
    assert all(len(place) == 1 for place in places)
    assert all(6 <= count <= 10 for count in Counter(number for (number,) in places).values())


def test_what_all_share_does_not_gather_all_on_one_worker() -> None:
    async def run(bench: Bench) -> list[int]:
        return list(await asyncio.gather(*(bench.ask("few-shot", f"prompt {number}") for number in range(32))))

    answers = asyncio.run(run(Bench(size=2, in_flight=16)))
    assert min(Counter(answers).values()) >= 12


def test_what_a_dead_worker_was_asked_is_asked_again_once() -> None:
    async def run(bench: Bench) -> list[int]:
        asking = [asyncio.create_task(bench.ask(f"prompt {number}")) for number in range(40)]
        await asyncio.sleep(0.003)
        bench.made[0].die()
        return list(await asyncio.gather(*asking))

    bench = Bench()
    answers = asyncio.run(run(bench))
    assert len(answers) == 40
    assert len(bench.made) == 3
    assert bench.made[0].stopped
    assert Counter(answers)[2] > 0
    asked = Counter(text for puppet in bench.made for text in puppet.asked)
    assert set(asked.values()) <= {1, 2}
    assert sum(asked.values()) - 40 == int(bench.told[0].split("its ")[1].split()[0]) <= 4
    assert len(bench.told) == 1
    assert "number 0 was killed" in bench.told[0]


def test_a_request_that_kills_every_worker_is_set_aside_and_its_neighbours_are_not() -> None:
    async def run(bench: Bench) -> list[object]:
        asked = [bench.ask("poison" if number == 17 else f"prompt {number}") for number in range(60)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    bench = Bench(poison=("poison",))
    answers = asyncio.run(run(bench))
    (fault,) = [answer for answer in answers if isinstance(answer, Exception)]
    assert answers[17] is fault
    assert isinstance(fault, RecordFault)
    assert "3 engines died while they worked on this request" in str(fault)
    assert bench.pool.deaths == 3


def test_two_poisons_at_once_are_told_apart_from_those_around_them() -> None:
    async def run(bench: Bench) -> list[object]:
        texts = ["poison a" if n == 3 else "poison b" if n == 4 else f"prompt {n}" for n in range(60)]
        return list(await asyncio.gather(*map(bench.ask, texts), return_exceptions=True))

    answers = asyncio.run(run(Bench(size=4, poison=("poison a", "poison b"))))
    assert [number for number, answer in enumerate(answers) if isinstance(answer, RecordFault)] == [3, 4]
    assert not any(isinstance(answer, EngineDown) for answer in answers)


def test_workers_that_only_die_are_down() -> None:
    async def run(bench: Bench) -> None:
        await bench.ask("a")
        bench.fault = lambda number: WorkerLost("no memory")
        bench.made[0].die()
        await bench.ask("b")

    bench = Bench(size=1)
    with pytest.raises(EngineDown, match=r"3 engines in a row died without an answer, the last one: no memory"):
        asyncio.run(run(bench))


def test_while_no_worker_comes_up_patience_has_an_end() -> None:
    class Slow(Puppet):
        async def ready(self) -> None:
            await asyncio.sleep(60)

    async def run() -> None:
        pool = Pool(lambda: Slow(0), 2, 4, 0.05, print)
        await pool.run((), lambda puppet: puppet.ask("a"))

    with pytest.raises(EngineDown, match=r"no engine came up in 0\.05 s"):
        asyncio.run(run())


def test_a_worker_that_is_something_else_stops_everything_with_its_reason() -> None:
    async def run(bench: Bench) -> None:
        bench.fault = lambda number: InputError("another tokenizer", "give the same files")
        bench.made[0].stop()
        await bench.ask("a")
        bench.made[0].die()
        await asyncio.gather(*(bench.ask(f"prompt {number}") for number in range(20)))

    with pytest.raises(InputError, match="another tokenizer; give the same files"):
        asyncio.run(run(Bench(size=1)))


def test_a_pool_serves_one_event_loop_after_another() -> None:
    bench = Bench(size=2, in_flight=1)

    async def run() -> list[int]:
        return list(await asyncio.gather(*(bench.ask(f"prompt {number}") for number in range(6))))

    for puppet in bench.made:
        asyncio.run(puppet.ready())
    first = asyncio.run(run())
    assert len(first) == 6


def test_a_cancelled_wait_leaves_its_turn_to_the_next() -> None:
    async def run(bench: Bench) -> int:
        await bench.ask("first")
        holding = asyncio.create_task(bench.ask("holds the only place"))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(bench.ask(f"waits {number}")) for number in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await holding
        return await asyncio.wait_for(waiting[2], 2)

    assert asyncio.run(run(Bench(size=1, in_flight=1))) == 0


def test_a_stopped_pool_says_so() -> None:
    bench = Bench()
    bench.pool.stop("it was closed")
    with pytest.raises(EngineDown, match="closed"):
        asyncio.run(bench.ask("a"))
    assert all(puppet.stopped for puppet in bench.made)


def test_without_ray_the_remedy_is_the_command_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing Ray fails here as it does where it is not installed; no model is looked at before."""
    monkeypatch.setitem(sys.modules, "ray", None)
    for kind in ("ray", "ray:vllm"):
        with pytest.raises(InputError, match=r"Ray is not installed; pip install 'cai\[ray\]', or make ray"):
            check_engine(EngineSettings.model_validate({"kind": kind, "model": "no/such/folder"}))


def test_kinds_with_an_inner_kind_are_short_for_two_settings() -> None:
    spec = load_settings(EngineSettings, "engine", None, ["engine.kind=ray:vllm", "engine.ray.actors=8"], {})
    assert (spec.kind, spec.ray.inner, spec.ray.actors, spec.inner.kind) == ("ray", "vllm", 8, "vllm")
    assert spec.in_flight == 8 * spec.inner.in_flight
    with pytest.raises(InputError, match=r"engine\.kind=ray:sglang`: `ray:sglang` is not an option"):
        load_settings(EngineSettings, "engine", None, ["engine.kind=ray:sglang"], {})
