"""What becomes of records: done, tried again, quarantined, skipped, dropped from the list, paid for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_stage import IDENTITY, Answer, answer, answer_soon, export, stage, whole

from cai.errors import EngineDown, EngineFault, InputError, RecordFault
from cai.records import Usage
from cai.store import Budget, BudgetSpent, Counts, Run, TooManyErrors, open_run, run_stage


@pytest.fixture
def run(base: Path) -> Iterator[Run]:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        yield run


def test_poison_is_quarantined_and_the_rest_is_done(run: Run) -> None:
    poison = set(random.Random(7).sample(range(1000), 13))
    tried = Counter[int]()

    async def work(item: int) -> Answer:
        await asyncio.sleep(0)
        tried[item] += 1
        if item in poison:
            raise EngineFault(f"item {item} breaks the server") if item % 2 else RecordFault(f"item {item} is too long")
        return answer(item)

    counts = stage(run, range(1000), work, concurrency=64)
    assert run.states("test") == {"ok": 987, "quarantined": 13}
    assert (counts.done, counts.errors, counts.total) == (1000, 13, 1000)
    assert counts.error_rate == 0.013
    counts.check_errors()  # 1.3 % is under the default 5 %
    for row in run.rows("test", Answer):
        if row.position in poison:
            assert (row.state, row.body) == ("quarantined", None)
            assert f"item {row.position} " in row.error
            assert (row.kind, row.attempts) == (("EngineFault", 3) if row.position % 2 else ("RecordFault", 1))
        else:
            assert (row.state, row.body, row.attempts) == ("ok", answer(row.position), 1)
    assert tried == {item: 3 if item in poison and item % 2 else 1 for item in range(1000)}


def test_more_errors_than_tolerated_make_exit_code_one_after_the_work(run: Run) -> None:
    async def work(item: int) -> Answer:
        if item < 2:
            raise RecordFault("no")
        return answer(item)

    at_most = asyncio.run(run_stage(run, "test", range(10), work, key=str, concurrency=2, max_error_rate=0.2))
    at_most.check_errors()
    above = asyncio.run(run_stage(run, "test", range(10), work, key=str, concurrency=2, max_error_rate=0.19))
    with pytest.raises(TooManyErrors, match=r"2 of 10 records were quarantined \(20.0%\)") as fault:
        above.check_errors()
    assert fault.value.exit_code == 1


def test_a_passing_fault_is_tried_again(run: Run) -> None:
    tried = Counter[int]()

    async def work(item: int) -> Answer:
        tried[item] += 1
        if tried[item] < 3:
            raise EngineFault("busy")
        return answer(item)

    assert stage(run, range(5), work).ok == 5
    assert [row.attempts for row in run.rows("test", Answer)] == [3] * 5


def test_an_engine_that_is_gone_stops_the_stage_and_the_next_pass_goes_on(run: Run) -> None:
    async def work(item: int) -> Answer:
        await asyncio.sleep(0)
        if item == 20:
            raise EngineDown("server gone")
        return answer(item)

    with pytest.raises(EngineDown, match="server gone"):
        stage(run, range(50), work, concurrency=4)
    done = run.states("test")["ok"]
    assert 17 <= done <= 23
    again = list[int]()

    async def count(item: int) -> Answer:
        again.append(item)
        return answer(item)

    assert stage(run, range(50), count).ok == 50
    assert len(again) == 50 - done


def test_a_mistake_in_the_items_is_raised_after_what_is_in_flight_is_stored(run: Run) -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise InputError("row 11 cannot be read")

    with pytest.raises(InputError, match="row 11"):
        stage(run, items())
    assert run.states("test") == {"ok": 10}


def test_a_mistake_of_ours_is_raised_and_not_stored(run: Run) -> None:
    async def work(item: int) -> Answer:
        return answer(1 // (3 - item))

    with pytest.raises(ZeroDivisionError):
        stage(run, range(10), work)
    assert "quarantined" not in run.states("test")


def test_everything_done_is_asked_nothing_and_gives_the_same(base: Path) -> None:
    first = whole(base, "run", range(30))

    async def never(item: int) -> Answer:
        raise AssertionError(f"item {item} was asked again")

    for _ in range(2):
        with open_run(base, "run", stage="test", identity=IDENTITY) as run:
            counts = stage(run, range(30), never)
            assert (counts.ok, counts.done_now, counts.total) == (30, 0, 30)
            assert counts.usage == Usage(calls=30, completion_tokens=sum(range(30)))
            assert export(run) == first


def test_totals_of_a_resumed_run_are_those_of_an_uninterrupted_one(base: Path) -> None:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(10))
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        resumed = stage(run, range(30))
    with open_run(base, "other", stage="test", identity=IDENTITY) as run:
        uninterrupted = stage(run, range(30))
    assert (resumed.ok, resumed.usage, resumed.total) == (uninterrupted.ok, uninterrupted.usage, uninterrupted.total)
    assert (resumed.done_now, uninterrupted.done_now) == (20, 30)


def test_neither_order_nor_concurrency_shows_in_the_export(base: Path) -> None:
    exports = set[bytes]()
    for concurrency in (1, 3, 64):
        delays = random.Random(concurrency)

        async def work(item: int, delays: random.Random = delays) -> Answer:
            await asyncio.sleep(delays.random() / 200)
            return answer(item)

        with open_run(base, f"run{concurrency}", stage="test", identity=IDENTITY) as run:
            stage(run, range(100), work, concurrency=concurrency)
            exports.add(export(run))
    assert len(exports) == 1


def test_another_list_of_items_gives_what_a_fresh_run_would(base: Path) -> None:
    whole(base, "run", range(20))
    for items in (range(10), range(30), range(25, 5, -1), [3, 3, 40, 3]):
        assert whole(base, "run", items) == whole(
            base, f"fresh-{items}".translate({ord(c): "-" for c in "(), []"}), items
        )
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        assert [row.body.item for row in run.rows("test", Answer) if row.body] == [3, 40]
        assert run.states("test") == {"ok": 2}
        assert run.totals("test").items == 2


def test_no_more_than_the_concurrency_is_taken_from_the_items_ahead(run: Run) -> None:
    taken, finished, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken, most
        for item in range(500):
            taken += 1
            most = max(most, taken - finished)
            yield item

    async def work(item: int) -> Answer:
        nonlocal finished
        await asyncio.sleep(0)
        finished += 1
        return answer(item)

    stage(run, items(), work, concurrency=8)
    assert most <= 8


def test_the_budget_stops_the_run_before_it_is_passed_and_a_higher_one_goes_on(run: Run) -> None:
    async def work(item: int) -> Answer:
        await asyncio.sleep(0)
        return Answer(item=item, text="", usage=Usage(calls=1, completion_tokens=100))

    def spend(limit: float) -> Counts:
        budget = Budget(limit, lambda usage: usage.completion_tokens / 1000)
        return asyncio.run(run_stage(run, "test", range(100), work, key=str, concurrency=4, budget=budget))

    with pytest.raises(BudgetSpent, match=r"--max-cost 2: .* same command with a higher --max-cost") as stop:
        spend(2.0)
    assert stop.value.exit_code == 1
    assert 17 <= run.states("test")["ok"] <= 20
    with pytest.raises(BudgetSpent):
        spend(2.0)
    assert run.totals("test").usage.completion_tokens <= 2000
    assert spend(10.1).ok == 100


def test_a_run_that_stops_at_its_budget_exports_only_the_items_it_was_given_in_their_order(base: Path) -> None:
    """The files are written then, of rows that an earlier pass over other items stored in another order."""
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(6))
        items = [9, 4, 8, 2, 7, 0]

        def passed(limit: float) -> None:
            budget = Budget(limit, lambda usage: usage.calls)
            asyncio.run(
                run_stage(run, "test", items, answer_soon, key=lambda i: f"key-{i}", concurrency=1, budget=budget)
            )

        with pytest.raises(BudgetSpent):
            passed(7)
        assert [row.body.item for row in run.rows("test", Answer) if row.body] == [9, 4, 2, 0]
        passed(100)
        assert [row.body.item for row in run.rows("test", Answer) if row.body] == items


def test_progress_counts_only_what_is_stored_and_ends_with_everything(base: Path) -> None:
    told = list[Counts]()
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:

        def progress(counts: Counts) -> None:
            assert counts.done <= run.states("test").total()
            told.append(counts)

        stage(run, range(50), progress=progress)
    assert [counts.done for counts in told] == sorted(counts.done for counts in told)
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 50, 50)
    assert told[-1].usage_now == Usage(calls=50, completion_tokens=sum(range(50)))


def test_a_mistake_in_the_progress_callback_is_raised_and_hangs_nothing(run: Run) -> None:
    def progress(counts: Counts) -> None:
        if counts.done:
            raise ValueError("a mistake in the bar")

    with pytest.raises(ValueError, match="a mistake in the bar"):
        stage(run, range(50), progress=progress)
    assert run.states("test")["ok"] >= 1


def test_two_stages_of_one_run_do_not_mix(base: Path) -> None:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(5))
    with open_run(base, "run", stage="label", identity={"model": "judge"}) as run:
        asyncio.run(run_stage(run, "label", range(3), answer_soon, key=lambda i: f"key-{i}", concurrency=2))
        assert (run.states("test"), run.states("label")) == ({"ok": 5}, {"ok": 3})
        assert run.reader.stages() == ["test", "label"]


def test_forgotten_quarantined_records_are_worked_on_again(run: Run) -> None:
    async def work(item: int) -> Answer:
        if item % 2:
            raise RecordFault("no")
        return answer(item)

    stage(run, range(10), work)
    run.journal.forget("test", "quarantined")
    assert stage(run, range(10)).ok == 10
