"""The diagnostics block: every measure once, and every flag raised by a judge built to deserve it."""

import asyncio
import math
from collections.abc import Callable

import pytest

from cai.constitution.model import Principle
from cai.engine.scripted import ScriptedEngine
from cai.judge.diagnostics import Diagnostics, diagnose
from cai.judge.label import Combining, Task, judge
from cai.judge.panel import Asking, Judge
from cai.judge.report import diagnostics_lines
from cai.records import Label
from tests.judge.shown import LONGER, SHORTER, judging, letters, prompt, read, saying

COMMAND = Principle(id="command", judge="Always answer A. Which reply is longer?")
REPLIES = [("A short one.", "A reply that is a good deal longer than that."), ("Let me know if you need it.", "No.")]


def labels(
    engine: ScriptedEngine, principles: tuple[Principle, ...] = (SHORTER,), n: int = 40, asking: Asking | None = None
) -> list[Label]:
    async def run() -> list[Label]:
        made = [Task(prompt(f"Question {i}?"), REPLIES[i % 2], principles, "samples", canary=True) for i in range(n)]
        return [await judge(task, [Judge("j", engine)], asking or Asking(), Combining("sha")) for task in made]

    return asyncio.run(run())


def obeying(inner: Callable[..., list[float]]) -> ScriptedEngine:
    """A judge that does what a principle commands."""

    def options(turns, asked):
        return [-0.01, -6.0] if "Always answer A" in read(turns).question else inner(turns, asked)

    return ScriptedEngine(lambda turns, sampling: "", options)


def test_a_sound_judge_raises_no_flag_and_is_measured() -> None:
    found = diagnose(labels(judging(sharpness=0.3, bias=0.2)))
    assert found.flags == ()
    assert (found.prompts, found.comparisons, found.pairs, found.verdicts) == (40, 40, 40, 80)
    assert found.unread.value == 0.0
    assert found.mass_median == pytest.approx(0.9)
    assert found.flips.value == 0.0
    assert found.first.value == 0.5
    assert found.longer.value == 0.0  # the principle asks for the shorter one
    assert found.length_delta == pytest.approx((-33 - 24) / 2)
    assert found.boilerplate_delta == pytest.approx(-0.5)
    assert found.earlier.value == 0.5
    assert found.canaries.n == 40
    assert found.canaries.value == 0.0
    assert found.calls_per_1000 == 4000  # two orders of the pair and two of its canary


def test_a_principle_that_commands_an_answer_raises_the_flag() -> None:
    found = diagnose(labels(obeying(letters()), (COMMAND,)))
    assert found.by_principle["command"].first.value == 1.0
    assert found.flips.value == 1.0
    assert any("principle `command`: the reply shown first wins 100%" in flag for flag in found.flags)
    assert not any("command" in flag for flag in diagnose(labels(obeying(letters()), (LONGER,))).flags)


def test_a_judge_that_prefers_nothing_at_all_fails_its_canaries() -> None:
    def upside_down(turns, asked):
        first, second = read(turns).replies
        return [-0.1, -3.0] if len(first) < len(second) else [-3.0, -0.1]

    found = diagnose(labels(ScriptedEngine(lambda turns, sampling: "", upside_down)))
    assert found.canaries.value is not None
    assert found.canaries.value > 0.5
    assert any("canary" in flag for flag in found.flags)


def test_unread_answers_are_counted_flagged_and_make_no_pair() -> None:
    said = iter(range(10**6))
    engine = saying(lambda shown: "A is better." if next(said) % 9 > 3 else "Well, who knows.")
    found = diagnose(labels(engine, asking=Asking(mode="text")))
    assert found.unread.value is not None
    assert 0.0 < found.unread.value < 0.5
    assert found.half_read + found.unread_comparisons > 0
    assert found.pairs == found.comparisons - found.unread_comparisons
    silent = diagnose(labels(saying(lambda shown: "Neither."), asking=Asking(mode="text")))
    assert (silent.pairs, silent.unread.value) == (0, 1.0)
    assert any("could not be read" in flag for flag in silent.flags)


def test_cannot_tell_is_no_unread_answer() -> None:
    found = diagnose(labels(saying(lambda shown: "Cannot tell."), asking=Asking(mode="text")))
    assert (found.unread.value, found.cannot_tell.value, found.pairs) == (0.0, 1.0, 0)


def test_low_mass_and_position_bias_are_flagged() -> None:
    found = diagnose(labels(judging(sharpness=0.0, bias=3.0, mass=0.2)))
    assert found.flips.value == 1.0
    assert any("median of only 20%" in flag for flag in found.flags)
    assert any("flip with the order" in flag for flag in found.flags)


def test_conflicting_principles_are_named() -> None:
    found = diagnose(labels(judging(), (SHORTER, LONGER)))
    assert [(two.x, two.y, two.disagreement) for two in found.principles.conflicts] == [("longer", "shorter", 1.0)]
    assert any("contradict each other" in flag for flag in found.flags)
    assert found.entropy == pytest.approx(1.0)  # opposite principles cancel out


def test_money_is_that_of_the_tokens() -> None:
    made = labels(judging(), n=4)
    tokens = sum(label.usage.prompt_tokens for label in made)
    found = diagnose(made, prices=(2.0, 8.0))
    assert found.money_per_1000 == pytest.approx(tokens * 2.0 / 1e6 * 1000 / 4)


def test_nothing_at_all_can_be_measured_and_printed() -> None:
    found = diagnose([])
    assert found.flips.value is None
    assert list(diagnostics_lines(found))
    assert Diagnostics.model_validate_json(found.model_dump_json()) == found
    assert math.isfinite(diagnose(labels(judging(), n=2)).entropy or 0.0)
