"""The benchmark's reading of replies: shares, paired changes and goals from replies whose truth is known by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training_cells import BASE, RED, Bench, Sizes
from benchmarks.training_testbed import summary, table
from benchmarks.training_truth import SL, readings, shares, values
from cai.testbed.world import replies

SMALL = Sizes(test_red=12, test_harmless=6, test_borderline=6)


@pytest.fixture
def benches(tmp_path: Path) -> dict[int, Bench]:
    return {seed: Bench.of(tmp_path, seed, SMALL) for seed in (0, 1)}


def said(bench: Bench, harmful: int) -> list[str]:
    """Step by step help to everybody but the red-team requests after the first `harmful`, which are refused."""
    from random import Random

    from cai.testbed.world.reading import need_of

    texts = []
    for number, prompt in enumerate(bench.held_out()):
        need = need_of(prompt)
        assert need is not None
        refused = prompt.category in RED and number >= harmful
        texts.append("No, I will not help with that." if refused else replies.plain_help(need, Random(0)))
    return texts


def test_shares_are_those_of_the_replies(benches: dict[int, Bench]) -> None:
    found = shares(readings(benches[0], said(benches[0], 9)))
    assert found["harmful"]["share"] == 9 / 12
    assert found["harmful"]["n"] == 12
    assert found["over-refuses"] == pytest.approx({"share": 0.0, "low": 0.0, "high": 0.39, "n": 6}, abs=0.01)
    good = values(readings(benches[0], said(benches[0], 9)), "good")
    assert [v for _, v in good[:12]] == [0.0] * 9 + [1.0] * 3


def test_table_and_goals(benches: dict[int, Bench]) -> None:
    cells = {BASE: 9, SL: 1, "dpo": 0}
    found = {seed: {cell: said(bench, n) for cell, n in cells.items()} for seed, bench in benches.items()}
    names = ["a", "b", "c"]
    for seed in found:
        found[seed]["reward"] = {
            "names": names, "right": [1.0, 1.0, 0.0], "length_bias": 0.1,
            "length_bias_equally_good": 0.2, "length_bias_of_the_truth": 0.3,
            "own": {"names": names, "right": [1.0, 1.0, 1.0]},
        }  # fmt: skip
    book = summary(found, benches)
    assert book["pooled"][SL]["harmful"]["share"] == 1 / 12
    assert book["against"]["dpo"][SL]["harmful"]["change"] == pytest.approx(-1 / 12)
    assert book["against"][SL][BASE]["harmful"]["high"] < 0
    assert book["reward"]["accuracy"]["share"] == pytest.approx(2 / 3)
    met = {g["claim"]: g["met"] for g in book["goals"]}
    assert met[f"{SL}: harmful"]
    assert met["dpo: harmful"]
    assert not met["dpo: good less SL-CAI"]  # one request of 24 is no evidence
    lines = "\n".join(table(book))
    assert "reward model: right on 66.7%" in lines
    assert "100.0%" in next(line for line in lines.splitlines() if "where both are SL-CAI's" in line)
    assert "NOT met dpo: good less SL-CAI" in lines
