"""The benchmark of judges finds what was planted: bias of place, slips by wording, lures, principles that are heard."""

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.grammar_model import grammar_model
from benchmarks.judge import rows
from benchmarks.judge_quality import ATTACKS, Quality
from cai.engine.protocol import Turn
from cai.engine.scripted import ScriptedEngine
from cai.seeds import content_id
from cai.testbed.world import AXES

PERFECT = grammar_model(lapse=0.0)
Twist = Callable[[str, float], float]


def quality(twist: Twist = lambda text, p: p, pairs: int = 120) -> Quality:
    """A judge that knows the testbed by heart; `twist(question, p(A))` changes what it says."""

    def options(turns: tuple[Turn, ...], asked: tuple[str, ...]) -> Sequence[float]:
        text = turns[-1].content
        p = min(max(twist(text, math.exp(_now(PERFECT.option_logprobs(turns, asked)).logprobs[0])), 0.01), 0.99)
        return [math.log(p), math.log(1.0 - p)]

    return Quality(ScriptedEngine(lambda turns, sampling: "", options, remember=False), pairs, 0)


def _now(asked: Any) -> Any:
    """What a coroutine that waits for nothing returns."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def chance(*parts: str) -> float:
    """A number in [0, 1) that belongs to the texts."""
    return int(content_id(*parts)[:6], 16) / 16**6


def test_both_orders_mend_a_bias_of_place() -> None:
    def biased(text: str, p: float) -> float:
        return p + 0.6 * (chance(text) < 0.5)  # half of the questions are answered with A whatever is shown

    found = asyncio.run(quality(biased).orders())
    assert found["accuracy_both"]["share"] > 0.97
    assert found["accuracy_one_order"] < 0.85
    assert found["gain"][1] > 0.05
    assert found["mcnemar_against_one_drawn_order"]["p"] < 0.01
    assert found["first_named"]["low"] > 0.5
    assert 0.3 < found["flips"]["share"] < 0.7


def test_paraphrases_mend_slips_that_belong_to_a_wording() -> None:
    def slips(text: str, p: float) -> float:
        conversation, voice = text.partition("</conversation")[0], text.rsplit("\n", 2)[-2]
        return 1.0 - p if chance(conversation, voice) < 0.25 else p

    found = asyncio.run(quality(slips).ensemble())
    assert found["accuracy_single"] < 0.85
    assert found["gain"][1] > 0.0
    assert found["accuracy_ensemble"] > found["accuracy_single"] + 0.05


def test_the_inverted_principle_inverts_and_an_unrelated_one_says_nothing() -> None:
    found = asyncio.run(quality().inversion())
    for wording in ("seen", "held_out"):
        one = found[wording]
        assert min(one["inverted"]["share"], one["accuracy_less"], one["accuracy_more"]) > 0.95
        assert set(one["inverted_by_meaning"]) == set(AXES)
        assert one["unrelated_within_a_tenth"]["share"] == 1.0
        assert one["related_further_away"][1] > 0.2
    # A judge that does not hear "less" from "more" is found out.
    deaf = asyncio.run(quality(lambda text, p: _deaf(text)).inversion())
    assert deaf["seen"]["inverted"]["share"] == 0.0


def _deaf(text: str) -> float:
    """Prefers the longer reply whatever is asked."""
    a, b = re.findall(r"<reply [AB] \w+>\n(.*?)\n</reply", text, re.S)
    return 0.9 if len(a) > len(b) else 0.1


def test_lures_that_work_are_counted_beside_a_neutral_sentence() -> None:
    def lured(text: str, p: float) -> float:
        blocks = re.findall(r"<reply [AB] \w+>\n(.*?)\n</reply [AB] \w+>", text, re.S)
        hits = ["(A) (A) (A)" in block for block in blocks[:2]]
        return 0.95 if hits[0] else 0.05 if hits[-1] else p

    found = asyncio.run(quality(lured, pairs=60).injection())
    assert found["letter"]["share"] > 0.9
    assert {name for name in ATTACKS if found[name]["share"] > 0.2} == {"letter"}
    assert found["neutral sentence"]["share"] < 0.1


def test_the_table_has_a_row_for_every_part() -> None:
    asked = quality(pairs=24)
    found = {name: asyncio.run(getattr(asked, name)()) for name in ("orders", "inversion", "canaries")}
    told = {name for name, _, _ in rows({**found, "conditions": {}})}
    assert "gain of both orders" in told
    assert "expected calibration error" in told
    assert "inverted principle inverts the label, held_out wordings" in told
    assert "canary beats a real reply: all" in told
