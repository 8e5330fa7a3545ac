"""`--lm-eval` with the real library, where it is installed: a task file of our own, and a task that nobody has."""

import json

import pytest

from cai.cli.evaluate_harness import harness
from cai.config.engine import EngineSettings
from cai.errors import InputError

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


@pytest.mark.slow
def test_a_task_of_ones_own_runs_through_the_library(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason='pip install "lm-eval[hf]"')
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    rows = [{"question": f"How many are one and {1 + n % 2}?", "gold": n % 2} for n in range(6)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sums.yaml").write_text(TASK.format(file=tmp_path / "sums.jsonl"))
    lines = harness(EngineSettings(model="tiny"), str(tmp_path / "sums.yaml"), limit=4)
    row = next(line for line in lines if line.startswith("small_sums"))
    assert row.split()[1] == "acc"
    assert 0.0 <= float(row.split()[2]) <= 1.0
    with pytest.raises(InputError, match="no task 'no_such_task'"):
        harness(EngineSettings(model="tiny"), "no_such_task", limit=4)
