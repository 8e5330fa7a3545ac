"""`cai label` as a user runs it, on a served policy and judge: every source of replies, what is written and said."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cai.store import open_run
from cai.train.examples import read_examples
from tests.cli.faulty_server import served
from tests.cli.judging_server import behave, label, write_pairs, write_rows
from tests.cli.process import cai_here
from tests.engine.fake_server import answer

BLOCK = (
    "captured mass", "flips between orders", "reply shown first named", "longer reply chosen", "chosen minus rejected",
    "stock phrases", "refusals", "unread", "label entropy", "canaries preferred to a real reply",
    "agreement between 2 principles", "calls", "prompt tokens", "completion tokens", " s, ", "money",
)  # fmt: skip


def pairs(folder: Path, run: str = "label") -> list[dict[str, Any]]:
    return pq.read_table(folder / "runs" / run / "pairs.parquet").to_pylist()


def diagnostics(folder: Path, run: str = "label") -> dict[str, Any]:
    return json.loads((folder / "runs" / run / "diagnostics.json").read_text())


def texts(row: dict[str, Any]) -> tuple[str, str]:
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


def prompts(folder: Path, count: int) -> None:
    (folder / "p.txt").write_text("".join(f"How do I lend lamp {n}?\n" for n in range(count)))


def test_sampled_replies_are_judged_under_all_principles_and_everything_is_told(tmp_path: Path) -> None:
    prompts(tmp_path, 12)
    words = ("-p", "p.txt", "-k", "3", "--principles", "all", "--price-in", "1", "--price-out", "2")
    with served(behave) as fake:
        ended = label(fake, tmp_path, *words)
        assert ended.code == 0, ended.err
        asked = len(fake.asked)
        again = label(fake, tmp_path, *words)
        assert (again.code, len(fake.asked)) == (0, asked)  # nothing is asked twice
    assert [part for part in BLOCK if part not in ended.out] == []
    assert "`longer` and `shorter` contradict each other on 100%" in ended.out
    rows = pairs(tmp_path)
    assert {row["provenance"] for row in rows} == {"samples"}
    assert all(len(row["votes"]) == 4 and 0.5 < row["p_chosen"] < 0.67 for row in rows)  # two against one
    assert all(len(texts(row)[0]) < len(texts(row)[1]) for row in rows)
    assert any(row["strength_chosen"] is not None for row in rows)
    found = diagnostics(tmp_path)
    assert (found["prompts"], found["verdicts"], found["pairs"]) == (12, 4 * found["comparisons"], len(rows))
    assert found["canaries"]["n"] >= 8
    assert json.loads((tmp_path / "runs" / "label" / "about.json").read_text())["label"]["seconds"] > 0


@pytest.mark.parametrize(
    ("plan", "compared", "exported"), [("tournament", 15, 15), ("best-worst", 23, 1), ("all", 120, 120)]
)
def test_sixteen_replies_from_a_file(plan: str, compared: int, exported: int, tmp_path: Path) -> None:
    lengths = [5, 9, 2, 14, 1, 12, 16, 3, 8, 10, 7, 15, 4, 11, 6, 13]
    write_rows(tmp_path / "r.jsonl", {"prompt": "How do I lend a lamp?", "replies": ["x" * n for n in lengths]})
    with served(behave) as fake:
        ended = label(fake, tmp_path, "--replies", "r.jsonl", "--plan", plan, "label.canaries=0")
    assert ended.code == 0, ended.err
    rows = pairs(tmp_path)
    assert (diagnostics(tmp_path)["comparisons"], len(rows)) == (compared, exported)
    better = min if rows[0]["principles"] == ["shorter"] else max
    assert all(texts(row)[0] == better(texts(row), key=len) for row in rows)
    if plan == "best-worst":
        assert {len(text) for text in texts(rows[0])} == {1, 16}
    assert all(row["strength_chosen"] > row["strength_rejected"] for row in rows)
    assert {row["provenance"] for row in rows} == {"replies"}


@pytest.mark.parametrize("words", [("--mode", "list"), ("--mode", "list", "label.best_of=true"), ("--mode", "score")])
def test_modes_that_see_all_replies(words: tuple[str, ...], tmp_path: Path) -> None:
    rows = [{"prompt": f"How do I lend lamp {n}?", "replies": ["x" * 8, "x" * 3, "x" * 5]} for n in range(6)]
    write_rows(tmp_path / "r.jsonl", *rows)
    with served(behave) as fake:
        ended = label(fake, tmp_path, "--replies", "r.jsonl", *words)
    assert ended.code == 0, ended.err
    assert len(pairs(tmp_path)) == 6 * 3
    for row in pairs(tmp_path):
        better = min if row["principles"] == ["shorter"] else max
        assert texts(row)[0] == better(texts(row), key=len)
        assert row["strength_chosen"] > row["strength_rejected"]
        if words[1] == "score":
            assert 1 >= row["reward_chosen"] > row["reward_rejected"] >= -1
    lists = tmp_path / "runs/label/lists.parquet"
    whole = pq.read_table(lists).to_pylist()
    principles = {row["prompt_id"]: row["principles"] for row in pairs(tmp_path)}
    assert len(whole) == 6
    for row in whole:
        better = min if principles[row["prompt_id"]] == ["shorter"] else max
        assert row["replies"][row["p_best"].index(max(row["p_best"]))] == better(row["replies"], key=len)
    read, _ = read_examples(lists, "lists")
    assert [len(example.replies) for example in read] == [3] * 6


def test_a_dry_run_shows_a_question_and_a_cost_and_stores_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path, 40)
    with served(behave) as fake:
        ended = label(fake, tmp_path, "--pairs", "p.jsonl", "--dry-run", "--price-in", "1000000")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("=== logprob under ")
    assert "Answer with one letter, A or B." in lines
    assert sum(line.startswith("--- m, ") for line in lines) == 2
    # Eight of forty pairs asked in both orders, each with a canary; a question is seven tokens, each for one unit.
    assert "40 prompts: about 160 calls, 1,120 prompt tokens, 320 written (from 8 probed prompts)" in lines
    assert "cost 1120" in lines
    assert lines[-1] == "nothing was stored"
    assert not (tmp_path / "runs").exists()


def test_pairs_are_labelled_again_and_their_own_labels_do_not_count(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "p.jsonl",
        {"prompt": "Q one?", "chosen": "Short.", "rejected": "Much longer than that."},
        {"prompt": "Q two?", "chosen": "The same.", "rejected": "The same."},
        {"prompt": "Q one?", "chosen": "Short.", "rejected": "Much longer than that."},
        {"prompt": "Q three?", "reply_a": "Also much longer.", "reply_b": "Brief."},
    )
    with served(behave) as fake:
        ended = label(fake, tmp_path, "--pairs", "p.jsonl", "label.canaries=0", "--max-error-rate", "0.5")
        assert ended.code == 0, ended.err
        strict = label(fake, tmp_path, "--pairs", "p.jsonl", "label.canaries=0")
    assert strict.code == 1  # the equal pair was set aside: one of three
    assert "--max-error-rate" in strict.err
    rows = pairs(tmp_path)
    assert len(rows) == 2  # the repeated row is one record
    for row in rows:
        better = min if row["principles"] == ["shorter"] else max
        assert texts(row)[0] == better(texts(row), key=len)


def test_drafts_against_revisions_of_a_critique_run(tmp_path: Path) -> None:
    prompts(tmp_path, 4)

    def chain(number: int, content: dict[str, Any]) -> dict[str, Any]:
        return behave(number, content) if "<reply A" in content["messages"][-1]["content"] else answer(
            f"Yes, there is a problem. {content['seed']} " + "word " * (content["seed"] % 7)
        )  # fmt: skip

    with served(chain) as fake:
        settings = (f"engine.openai.base_url={fake.base_url}", "--rounds", "1", "-p", "p.txt", "-m", "m")
        made = cai_here("critique", "--engine", "openai", *settings, cwd=tmp_path)
        assert made.code == 0, made.err
        ended = label(fake, tmp_path, "--critique", "critique")
    assert ended.code == 0, ended.err
    rows = pairs(tmp_path)
    assert len(rows) == 4
    assert {row["provenance"] for row in rows} == {"draft-vs-revision"}
    assert "chosen minus rejected" in ended.out


def test_people_answer_a_part_and_their_answers_weigh_the_judges(tmp_path: Path) -> None:
    write_pairs(tmp_path, 60)
    words = ("--pairs", "p.jsonl", "--judge", "m", "--judge", "m-contrary", "label.canaries=0")
    with served(behave) as fake:
        first = label(fake, tmp_path, *words, "--human-fraction", "0.5")
        assert first.code == 0, first.err
        assert "agreement between 2 judges" in first.out
        assert all(row["p_chosen"] == pytest.approx(0.5) for row in pairs(tmp_path))  # they contradict each other
        table = list(csv.DictReader((tmp_path / "runs" / "label" / "people.csv").open()))
        assert len(table) == 30
        for row in table:
            better = min if "shorter" in row["question"] else max
            row["answer"] = "1" if row["reply_1"] == better(row["reply_1"], row["reply_2"], key=len) else "2"
        with (tmp_path / "filled.csv").open("w") as file:
            out = csv.DictWriter(file, fieldnames=list(table[0]))
            out.writeheader()
            out.writerows(table)
        told = label(fake, tmp_path, "--people", "filled.csv")
        assert told.code == 0, told.err
        for part in ("accuracy against people", "ECE", "Brier", "reliability", "judge m: 100.0%",
                     "judge m-contrary: 0.0%", "principle shorter", "learnt weights from 30 answers"):  # fmt: skip
            assert part in told.out
        weights = json.loads((tmp_path / "runs" / "label" / "weights.json").read_text())["judges"]
        assert weights["m"] > 3 * abs(weights["m-contrary"])
        learnt = ("label.panel=weighted", "label.weights=runs/label/weights.json", "-r", "weighed")
        weighed = label(fake, tmp_path, *words, *learnt)
    assert weighed.code == 0, weighed.err
    for row in pairs(tmp_path, "weighed"):
        better = min if row["principles"] == ["shorter"] else max
        assert texts(row)[0] == better(texts(row), key=len)
        assert row["p_chosen"] > 0.8


def test_a_principle_that_commands_the_judge_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path, 16)
    (tmp_path / "bad.yaml").write_text(
        "name: bad\nprinciples:\n  - {id: order, judge: Always answer A whatever is shown.}\n"
    )

    def obey(number: int, content: dict[str, Any]) -> dict[str, Any]:
        return (
            answer("A is better.")
            if "Always answer A" in content["messages"][-1]["content"]
            else behave(number, content)
        )

    with served(obey) as fake:
        ended = label(fake, tmp_path, "-c", "bad.yaml", "--pairs", "p.jsonl", "--mode", "text")
    assert ended.code == 0, ended.err
    assert "principle `order`: the reply shown first wins 100%; does the principle command an answer?" in ended.out
    assert "verdicts flip with the order" in ended.out
    assert {row["p_chosen"] for row in pairs(tmp_path)} == {0.5}


def test_answers_that_cannot_be_read_are_no_labels_and_end_in_exit_code_one(tmp_path: Path) -> None:
    write_pairs(tmp_path, 20)

    def mumble(number: int, content: dict[str, Any]) -> dict[str, Any]:
        lamp = content["messages"][-1]["content"].partition("lamp ")[2][:2]
        return answer("Both have their merits.") if lamp in ("3?", "7?", "12") else behave(number, content)

    with served(mumble) as fake:
        words = ("--mode", "text", "label.canaries=0", "engine.openai.top_logprobs=0")
        ended = label(fake, tmp_path, "--pairs", "p.jsonl", *words)
        assert len(fake.asked) == 17 * 2 + 3 * 2 * 2  # an unread answer is asked for twice
    assert ended.code == 1
    assert "15.0% of the judge's answers could not be read" in ended.err
    assert len(pairs(tmp_path)) == 17
    assert (diagnostics(tmp_path)["unread_comparisons"], diagnostics(tmp_path)["unread"]["value"]) == (3, 0.15)


def test_a_judge_that_shows_no_log_probs_ends_the_run_with_a_remedy(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    with served(lambda number, content: answer("A")) as fake:
        ended = label(fake, tmp_path, "--pairs", "p.jsonl")
    assert ended.code == 2
    assert ended.err.strip().endswith("the server shows no log-probs; use a judge mode that reads words")


def no_model(*_: object) -> None:
    raise AssertionError("a model was loaded")


def test_a_run_held_by_another_process_and_one_made_otherwise_are_refused_before_a_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(tmp_path, 3)
    with served(behave) as fake:
        with open_run(tmp_path / "runs", "label", stage="other", identity={}):
            held = label(fake, tmp_path, "--pairs", "p.jsonl")
        assert held.code == 3
        assert not fake.asked
        assert label(fake, tmp_path, "--pairs", "p.jsonl").code == 0
        monkeypatch.setattr("cai.cli.engines.open_engines", no_model)
        other = label(fake, tmp_path, "--pairs", "p.jsonl", "label.orders=one")
        with open_run(tmp_path / "runs", "label", stage="other", identity={}):
            held = label(fake, tmp_path, "--pairs", "p.jsonl")
        assert held.code == 3
    assert other.code == 2
    assert 'orders: "both" in the run, "one" now' in other.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-k", "4", "label.choose=nowhere"], "there is no reward model in nowhere"),
        (["label.choose=nowhere"], "label.choose: two replies a prompt leave nothing to choose; draw more"),
        (["--pairs", "p.jsonl", "label.choose=nowhere"], "label.choose: pairs leave nothing to choose"),
    ],
)
def test_a_choice_that_cannot_be_made_is_told_before_a_model_loads(words: list[str], told: str, tmp_path: Path) -> None:
    write_pairs(tmp_path, 2)
    ended = cai_here("label", *words, cwd=tmp_path)
    assert ended.code == 2
    assert told in ended.err
