"""The benchmark's modes and providers give the truth's numbers on a small ragged problem: what it times is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.head_goals import CPU, GOALS, comparison, judged, lines
from benchmarks.head_measure import measure
from benchmarks.head_providers import MODULES, OURS, absent, names
from benchmarks.kernels import MODES, shapes

SMALL = {"shape": (37, 16, 200), "device": "cpu", "dtype": "float32", "repeats": 1, "threads": 1}


@pytest.mark.parametrize("mode", OURS)
def test_every_provider_of_a_mode_is_right(mode: str) -> None:
    torch.set_num_threads(1)
    for provider in names(mode, "cpu"):
        if provider != "compiled":  # slow to build, see below
            check_provider(mode, provider)


def check_provider(mode: str, provider: str) -> None:
    found = measure({"mode": mode, "provider": provider, **SMALL})
    errors = {k: v for k, v in found.items() if k in ("logp_max", "entropy_max", "hidden_grad", "weight_grad")}
    assert errors, f"{provider} was not compared with anything"
    assert max(errors.values()) < 1e-4, (provider, errors)
    assert found["repeatable"]
    assert ("weight_grad" in errors) == (mode in ("train", "mean", "half", "masked", "dpo", "grpo"))


@pytest.mark.slow
def test_the_compiled_provider_is_right() -> None:
    if "compiled" in absent("train", "cpu"):
        pytest.skip("torch.compile needs a C++ compiler here")
    check_provider("train", "compiled")


def test_a_peer_left_out_is_named_with_its_reason() -> None:
    for device in ("cpu", "cuda"):
        for mode in OURS:
            left_out = absent(mode, device)
            assert set(left_out) | set(names(mode, device)) >= set(MODULES)
            assert not set(left_out) & set(names(mode, device))
            assert all(left_out.values())


def test_every_mode_has_its_shapes_and_a_gpu_measures_the_goals_shape_first() -> None:
    assert set(MODES) == set(OURS)
    assert all(shapes("cpu", mode) == [(4096, 512, 32768)] for mode in MODES)
    assert shapes("cuda", "train")[0] == (8192, 4096, 128256)
    assert {n for n, _, _ in shapes("cuda", "judge")} == {64, 512}
    assert len(shapes("cuda", "train")) == 28


def test_a_goal_is_met_missed_or_unmeasured() -> None:
    """By hand: 1.4 of naive's time misses 1.25; 3 of 100 MB meets a twentieth; the rest has no rows."""
    rows = {
        f"train {CPU} naive": {"status": "measured", "ms": 100.0, "extra_mb": 110.0, "gradients_mb": 10.0},
        f"train {CPU} ours:recompute:torch": {
            "status": "measured", "ms": 140.0, "extra_mb": 13.0, "gradients_mb": 10.0,
        },
        f"frozen {CPU} naive": {"status": "failed", "why": "killed"},
    }  # fmt: skip
    found = {goal["goal"]: goal for goal in judged({"rows": rows, "ceilings": {}})}
    assert (found["recompute, time / naive"]["got"], found["recompute, time / naive"]["met"]) == (1.4, False)
    assert (found["recompute, extra memory / naive"]["got"], found["recompute, extra memory / naive"]["met"]) == (
        0.03,
        True,
    )
    assert [goal["status"] for goal in found.values()].count("unmeasured") == len(GOALS) - 2


def test_the_page_shows_what_the_results_have() -> None:
    root = Path(__file__).parents[2]
    book = json.loads((root / "benchmarks" / "results" / "kernels-cpu.json").read_text())
    page = (root / "docs" / "kernels.md").read_text()
    assert book["goals"] == judged(book)
    missing = [line for line in (*lines(book["goals"]), *comparison(book)) if line not in page]
    assert not missing
