"""`cai compare`, `cai evaluate` and `cai redteam` as processes: what they write, refuse, and do not import."""

import json

from tests.cli.process import cai
from tests.compare.made import GIVES, SORRY, ask, chain, stored


def test_finished_runs_are_compared_without_a_model(tmp_path):
    prompts = [ask(f"Question {n} about lamps") for n in range(40)]
    stored(tmp_path / "runs", "x", [chain(p, GIVES, GIVES) for p in prompts])
    stored(tmp_path / "runs", "y", [chain(p, GIVES, SORRY if n % 2 else GIVES) for n, p in enumerate(prompts)])
    ended = cai("compare", "runs/x", "runs/y", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "y against x: 50.0 points more refusals, 95 % interval" in ended.out
    assert "kappa with people" in ended.out
    assert not ended.imported_torch
    folder = tmp_path / "runs" / "compare"
    report = json.loads((folder / "report.json").read_text())
    assert (report["n"], len(report["flips"])) == (40, 20)
    assert (folder / "report.md").read_text().startswith("# x · y")
    assert 'content="default-src &#39;none&#39;; script-src &#39;sha256-' in (folder / "report.html").read_text()


def test_texts_are_compared_without_a_model(tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nprinciples:\n  - Be kind to the reader.\n")
    (tmp_path / "b.yaml").write_text("name: b\nprinciples:\n  - Be brief.\n  - Be kind to the reader.\n")
    ended = cai("compare", "a.yaml", "b.yaml", "--depth", "text", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "added" in ended.out
    assert not ended.imported_torch


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path):
    prompts = [ask("Question")]
    stored(tmp_path / "runs", "x", [chain(p, GIVES, GIVES) for p in prompts])
    for words, says in (
        (("default",), "nothing to compare"),
        (("runs/x", "default"), "default is not a run"),
        (("runs/x", "runs/x", "--depth", "policy"), "needs constitutions"),
        (("default", "defalt"), "defalt"),
        (("default", "minimal", "--depth", "policy", "--suite", "xtest"), "xstest"),
    ):
        ended = cai("compare", *words, cwd=tmp_path)
        assert ended.code == 2
        assert says in ended.err
        assert "Traceback" not in ended.err
        assert not ended.imported_torch


def test_evaluate_lists_its_suites_and_refuses_before_any_model_loads(tmp_path):
    listed = cai("evaluate", "--list", cwd=tmp_path)
    assert listed.code == 0
    assert "xstest/xstest_prompts.csv" in listed.out
    for words, says in (
        (("--suite", "xtest"), "xstest"),
        (("--suite", "gsm8k"), "suite gsm8k needs data"),
        (("--suite", "gsm8k", "--data", "none"), "no such file"),
        (("--attack", "rol-play"), "role-play"),
        (("--lm-eval", " , "), "no task named"),
        (("--lm-eval", "arc_easy,none.yaml"), "no such task file"),
    ):
        ended = cai("evaluate", "tiny", *words, cwd=tmp_path)
        assert ended.code == 2, (words, ended.out, ended.err)
        assert says in ended.err
        assert not ended.imported_torch


def test_redteam_refuses_a_missing_file(tmp_path):
    ended = cai("redteam", "tiny", "--seeds", "none.jsonl", cwd=tmp_path)
    assert ended.code == 2
    assert "none.jsonl" in ended.err
