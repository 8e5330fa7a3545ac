"""Depth `policy` from the command line: each side is trained by one recipe, every policy runs the same suites."""

import json

import pytest

from tests.cli.process import cai_here

RECIPE = """
compare: {depth: policy, limit: 24, judge: false, suites: [testbed]}
train: {epochs: 2, batch_size: 8, learning_rate: 5e-4, keep_best: false}
evaluate: {limit: 24, max_tokens: 48}
"""


@pytest.mark.slow
def test_policies_are_trained_by_one_recipe_and_run_the_same_suites(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    words = ("compare", "harmless-only", "minimal", "--recipe", "recipe.yaml")
    ended = cai_here(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "policies: " in ended.out
    report = json.loads((tmp_path / "runs" / "compare" / "report.json").read_text())
    assert {(s["suite"], s["contrast"]["a"], s["contrast"]["b"]) for s in report["suites"]} == {
        ("testbed", "harmless-only", "minimal")
    }
    assert {s["contrast"]["outcome"] for s in report["suites"]} >= {"harmful", "helpful", "over-refusal"}
    assert "Policies on the suites" in (tmp_path / "runs" / "compare" / "report.html").read_text()
    models = sorted((tmp_path / "runs").glob("compare-*/sft/model/model.safetensors"))
    assert len(models) == 2
    assert models[0].read_bytes() != models[1].read_bytes()
    before = [model.stat().st_mtime_ns for model in models]
    again = cai_here(*words, cwd=tmp_path)
    trained = [line for line in ended.out.splitlines() if line.startswith("model: ")]
    assert len(trained) == 2
    assert (again.code, again.out.splitlines()) == (
        0,
        [s for s in ended.out.splitlines() if not s.startswith(("model: ", "curves: "))],
    )
    assert [model.stat().st_mtime_ns for model in models] == before  # nothing is trained or asked twice
