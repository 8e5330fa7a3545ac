"""The stage on a real journal: kills, faults, concurrency and order leave no trace in what is exported."""

import asyncio
import hashlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from cai.critique.export import write_datasets
from cai.critique.loop import Parts, Plan
from cai.critique.report import report_on
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.protocol import ContextTooLong, Sampling, Turn
from cai.engine.scripted import ScriptedEngine
from cai.errors import EngineDown, EngineFault, InputError
from cai.records import Prompt, Revision, Usage
from cai.store import Budget, BudgetSpent, Counts, open_run
from tests.critique.script import behave, make_constitution, make_plan, prompts

PLAN = make_plan(make_constitution("harm", "lies", rounds=2, final_check=True))


def run_all(base: Path, parts: Parts, asked: list[Prompt], *, plan: Plan = PLAN, **options: object) -> Counts:
    """The whole stage with its exports, in a folder of its own."""
    with open_run(base, "r", stage=STAGE, identity=identity(parts, plan)) as run:
        counts = asyncio.run(criticise(run, asked, parts, plan, **{"concurrency": 8, **options}))
        write_datasets(run, asked, plan.constitution.name, "final")
        return counts


def exports(base: Path) -> list[str]:
    return [hashlib.sha256((base / "r" / name).read_bytes()).hexdigest() for name in ("sft.parquet", "dropped.parquet")]


def one(answer, **engine: object) -> Parts:
    engine = ScriptedEngine(answer, **engine)
    return Parts(engine, engine, engine)


def slowly(seed: int, longest: float = 0.002):
    """Answers as `behave` does, each after a wait of its own, so that chains overtake each other."""
    random = Random(seed)

    async def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        await asyncio.sleep(random.random() * longest)
        return behave(turns, sampling)

    return answer


def test_exports_are_byte_equal_for_any_concurrency_and_any_order_of_finishing(tmp_path):
    asked = prompts(60)
    for name, concurrency in (("one", 1), ("eight", 8), ("many", 64)):
        run_all(tmp_path / name, one(slowly(concurrency)), asked, concurrency=concurrency)
    assert exports(tmp_path / "one") == exports(tmp_path / "eight") == exports(tmp_path / "many")


def test_the_order_of_prompts_changes_the_order_of_rows_and_nothing_else(tmp_path):
    asked = prompts(30)
    run_all(tmp_path / "there", one(behave), asked)
    run_all(tmp_path / "back", one(behave), asked[::-1])
    there, back = (pq.read_table(tmp_path / way / "r" / "sft.parquet").to_pylist() for way in ("there", "back"))
    assert there == back[::-1]


CHILD = """
import os, sys
from pathlib import Path
from tests.critique.script import behave, prompts
from tests.critique.test_stage import one, run_all
left = int(sys.argv[2])

def answer(turns, sampling):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    return behave(turns, sampling)

run_all(Path(sys.argv[1]), one(answer), prompts(40), concurrency=4)
"""


def test_a_run_killed_again_and_again_exports_the_bytes_of_one_that_was_not(tmp_path):
    run_all(tmp_path / "whole", one(behave), prompts(40))
    kills = 0
    while True:
        child = [sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(40 + 60 * kills)]
        ended = subprocess.run(child, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kills += 1
    assert kills >= 2
    assert exports(tmp_path / "killed") == exports(tmp_path / "whole")


def test_a_finished_run_asks_nothing_more_and_writes_the_same_bytes(tmp_path):
    parts = one(behave)
    run_all(tmp_path, parts, prompts(20))
    before, asked = exports(tmp_path), len(parts.draft.calls)
    counts = run_all(tmp_path, parts, prompts(20))
    assert (counts.done, counts.done_now) == (20, 0)
    assert len(parts.draft.calls) == asked
    assert exports(tmp_path) == before


def test_more_prompts_are_added_to_a_finished_run_and_only_they_are_asked(tmp_path):
    parts = one(behave)
    run_all(tmp_path / "grown", parts, prompts(10))
    counts = run_all(tmp_path / "grown", parts, prompts(30))
    assert counts.done_now == 20
    run_all(tmp_path / "whole", parts, prompts(30))
    assert exports(tmp_path / "grown") == exports(tmp_path / "whole")


CHANGES = {
    "seed": 1,
    "rounds": 3,
    "final_check": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 7,
    "constitution": make_constitution("harm"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_run_is_not_resumed_with_another_setting(tmp_path, field):
    run_all(tmp_path, one(behave), prompts(3))
    with pytest.raises(InputError, match=field):
        run_all(tmp_path, one(behave), prompts(3), plan=replace(PLAN, **{field: CHANGES[field]}))


@pytest.mark.parametrize("part", ["draft", "critic", "reviser"])
def test_a_run_is_not_resumed_with_another_model(tmp_path, part):
    parts = one(behave)
    run_all(tmp_path, parts, prompts(3))
    with pytest.raises(InputError, match=f"models.{part}"):
        run_all(tmp_path, replace(parts, **{part: ScriptedEngine(behave, model="other")}), prompts(3))


def test_poison_prompts_are_quarantined_with_their_text_and_reason_and_the_rest_goes_on(tmp_path):
    asked = prompts(50)
    poison = {asked[n].messages[0].content: n for n in (3, 17, 42)}

    def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        match poison.get(turns[0].content):
            case None:
                return behave(turns, sampling)
            case 17:
                raise ContextTooLong("900 tokens do not fit in 512")
            case _:
                raise EngineFault("no answer")

    counts = run_all(tmp_path, one(answer), asked, attempts=2)
    assert (counts.ok, counts.quarantined) == (47, 3)
    rows = pq.read_table(tmp_path / "r" / "dropped.parquet").to_pylist()
    faults = [(row["messages"][0]["content"], row["reason"], row["error"]) for row in rows if row["error"]]
    assert faults == [
        (asked[3].messages[0].content, "EngineFault", "no answer"),
        (asked[17].messages[0].content, "ContextTooLong", "900 tokens do not fit in 512"),
        (asked[42].messages[0].content, "EngineFault", "no answer"),
    ]
    assert all(len(row["messages"]) == 1 for row in rows if row["error"])


def test_an_engine_that_is_gone_stops_the_run_and_the_same_call_goes_on(tmp_path):
    answered = 0

    def answer(turns: tuple[Turn, ...], sampling: Sampling) -> str:
        nonlocal answered
        answered += 1
        if answered == 100:
            raise EngineDown("the server is gone")
        return behave(turns, sampling)

    parts = one(answer)
    with pytest.raises(EngineDown):
        run_all(tmp_path / "cut", parts, prompts(40))
    counts = run_all(tmp_path / "cut", parts, prompts(40))
    assert 0 < counts.done_now < 40
    run_all(tmp_path / "whole", one(behave), prompts(40))
    assert exports(tmp_path / "cut") == exports(tmp_path / "whole")


def test_the_budget_stops_a_run_before_it_is_passed_and_a_higher_one_goes_on(tmp_path):
    def price(usage: Usage) -> float:
        return (usage.prompt_tokens + usage.completion_tokens) / 1000

    whole = price(run_all(tmp_path / "whole", one(behave), prompts(40)).usage)
    parts = one(behave)
    with pytest.raises(BudgetSpent):
        run_all(tmp_path / "cut", parts, prompts(40), concurrency=1, budget=Budget(whole / 2, price))
    with open_run(tmp_path / "cut", "r", stage=STAGE, identity=identity(parts, PLAN)) as run:
        assert 0.3 * whole < price(run.totals(STAGE).usage) <= 0.5 * whole
    run_all(tmp_path / "cut", parts, prompts(40), budget=Budget(2 * whole, price))
    assert exports(tmp_path / "cut") == exports(tmp_path / "whole")


def test_the_report_of_a_resumed_run_covers_all_its_rows(tmp_path):
    parts = one(behave)
    run_all(tmp_path, parts, prompts(20))
    run_all(tmp_path, parts, prompts(40))
    with open_run(tmp_path, "r", stage=STAGE, identity=identity(parts, PLAN)) as run:
        rows = list(run.rows(STAGE, Revision))
    report = report_on(rows)
    steps = [step for row in rows if row.body for step in row.body.steps]
    assert report.ok == 40
    assert report.kept + report.dropped.total() == 40
    for name in ("harm", "lies"):
        mine = [step for step in steps if step.principle == name]
        fired = report.principles[name]
        assert (fired.asked, fired.violated, fired.changed) == (
            len(mine),
            sum(bool(step.violated) for step in mine),
            sum(step.changed for step in mine),
        )
    assert report.changed == sum("gone" in row.body.final for row in rows if row.body) > 0


MEMORY_CHILD = """
import asyncio, resource, sys
from pathlib import Path
from cai.critique.loop import Parts
from cai.critique.stage import STAGE, criticise, identity
from cai.engine.scripted import ScriptedEngine
from cai.store import open_run
from tests.critique.script import ask, behave
from tests.critique.test_stage import PLAN
engine = ScriptedEngine(behave, remember=False)
parts = Parts(engine, engine, engine)
count = int(sys.argv[2])
with open_run(Path(sys.argv[1]), "r", stage=STAGE, identity=identity(parts, PLAN)) as run:
    asked = (ask(f"Question {n} harm") for n in range(count))
    asyncio.run(criticise(run, asked, parts, PLAN, concurrency=64))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mib(base: Path, count: int) -> int:
    child = [sys.executable, "-c", MEMORY_CHILD, str(base), str(count)]
    done = subprocess.run(child, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return int(done.stdout)


def test_memory_hardly_grows_with_the_number_of_records(tmp_path):
    few, many = peak_mib(tmp_path / "few", 200), peak_mib(tmp_path / "many", 2500)
    assert many < few + 20


@pytest.mark.slow
def test_a_hundred_thousand_records_stay_under_400_mb(tmp_path):
    assert peak_mib(tmp_path, 100_000) < 400


SLOW_CHILD = """
import sys
from pathlib import Path
from tests.critique.script import prompts
from tests.critique.test_stage import one, run_all, slowly
run_all(Path(sys.argv[1]), one(slowly(1, longest=0.05)), prompts(40), concurrency=4)
"""


def test_sigint_drains_and_the_same_command_finishes_the_run(tmp_path):
    command = [sys.executable, "-c", SLOW_CHILD, str(tmp_path / "cut")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    journal = tmp_path / "cut" / "r" / "journal.sqlite-wal"
    while child.poll() is None and not (journal.exists() and journal.stat().st_size > 50_000):
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert "Interrupted" in said
    counts = run_all(tmp_path / "cut", one(behave), prompts(40))
    assert 0 < counts.done_now < 40
    run_all(tmp_path / "whole", one(behave), prompts(40))
    assert exports(tmp_path / "cut") == exports(tmp_path / "whole")
