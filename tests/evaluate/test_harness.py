"""`--lm-eval` with the real library, where it is installed, and what is made of its answers, where it is not."""

import importlib.util
import json

import pytest

from cai.cli.evaluate_harness import harness
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError
from cai.evaluate.harness import read_results, taxes
from tests.cli.random_model import random_model

TASK = """
task: small_sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["two", "three"]
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
"""
INSTALLED = importlib.util.find_spec("lm_eval") is not None


def task(folder, rows):
    """A task file of one's own, and its data."""
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sums.yaml").write_text(TASK.format(file=folder / "sums.jsonl"))
    return str(folder / "sums.yaml")


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason='pip install "cai[lm-eval]"')
def test_a_task_of_ones_own_runs_through_the_library_on_two_models(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    name = task(tmp_path, [{"question": f"How many are one and {1 + n % 2}?", "gold": n % 2} for n in range(6)])
    other = str(random_model(tmp_path / "noise"))
    settings, spec = EvaluateSettings(limit=4, beside=other), EngineSettings(model="tiny")
    lines = harness(settings, spec, name, tmp_path / "runs")
    rows = [line.split() for line in lines if line.startswith("small_sums")]
    assert [row[1] for row in rows[:2]] == ["acc", "acc"]
    assert all(0.0 <= float(row[2]) <= 1.0 for row in rows[:2])
    assert rows[2][0:2] == ["small_sums", "acc"]
    stored = json.loads((tmp_path / "runs" / "evaluate-tiny" / "lm-eval.json").read_text())
    assert [figure["metric"] for figure in stored] == ["acc"]
    assert harness(settings, spec, name, tmp_path / "runs") == lines  # from the journal: nothing is asked again
    with pytest.raises(InputError, match="limit"):
        harness(settings.model_copy(update={"limit": 5}), spec, name, tmp_path / "runs")
    with pytest.raises(InputError, match="no task 'no_such_task'"):
        harness(settings, spec, "no_such_task", tmp_path / "runs")


@pytest.mark.skipif(INSTALLED, reason="the library is installed")
def test_without_the_library_one_line_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r'not installed; install it: pip install "cai\[lm-eval\]"'):
        harness(EvaluateSettings(), EngineSettings(), "arc_easy", tmp_path)


def test_a_model_that_the_library_cannot_load_is_refused(tmp_path):
    with pytest.raises(InputError, match="need a local model"):
        harness(EvaluateSettings(), EngineSettings(kind="openai"), "arc_easy", tmp_path)


def answered(rights):
    """What `simple_evaluate` returns (0.4.13) for a task with these items right, in the parts that are read."""
    return {
        "lm_eval_version": "0.4.13",
        "results": {
            "sums": {"alias": "sums", "sample_len": len(rights), "acc,none": sum(rights) / len(rights),
                     "acc_stderr,none": "N/A", "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1}
        },
        "higher_is_better": {"sums": {"acc": True, "exact_match": True}},
        "samples": {
            "sums": [
                {"doc_id": n, "filter": "none", "metrics": ["acc"], "acc": float(right)}
                for n, right in enumerate(rights)
            ]
        },
    }  # fmt: skip


def test_figures_are_the_librarys_own_and_counts_are_none():
    found = read_results("sums", answered([1, 0, 1, 1]))
    told = [(figure.metric, figure.value, figure.error) for figure in found.figures]
    assert told == [("acc", 0.75, None), ("exact_match, strict", 0.5, 0.1)]


def test_the_alignment_tax_is_paired_by_item():
    before = read_results("sums", answered([1] * 60 + [0] * 40))
    after = read_results("sums", answered([0] * 20 + [1] * 40 + [0] * 40))
    (tax,) = taxes("base", "aligned", [before], [after], seed=0)
    assert (tax.difference, tax.only_a, tax.only_b, tax.n) == (pytest.approx(-0.2), 20, 0, 100)
    assert tax.improves is False
