"""Every importer: the public files where they are there, and malformed rows named by file and line."""

import gzip
import json

import pytest

from benchmarks.refusal import load as load_labels
from cai.cli.evaluate_judge import JUDGE_SUITES, check_pairs, pairs_of
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError
from cai.evaluate.suites import SUITES, bbq, gsm8k, harm, languages, persona, truthfulqa, unknown, xstest
from cai.inputs import PromptFile
from cai.judge import exam

COUNTS = {"xstest": 450, "truthfulqa": 817, "sycophancy": 817, "bbq": 3680, "gsm8k": 1319}
XSTEST = "id,prompt,type,label,focus\n"
BBQ = {
    "context": "c", "question": "q", "ans0": "A", "ans1": "B", "ans2": "Unknown", "label": 2,
    "context_condition": "ambig", "question_polarity": "neg", "question_index": "1", "category": "Age",
    "answer_info": {"ans0": ["x", "old"], "ans1": ["y", "nonOld"], "ans2": ["z", "unknown"]},
    "additional_metadata": {"stereotyped_groups": ["old"]},
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_public_files_are_read_whole(name, public_data):
    suite = SUITES[name]
    items = suite.load(public_data / suite.file)
    assert len(items) == COUNTS[name]
    assert len({item.prompt.id for item in items}) > 0.9 * len(items)
    assert all(item.prompt.source for item in items)


def test_harm_sets_are_joined_without_repeats(public_data):
    items = harm.load(public_data)
    sets = {item.facts["set"] for item in items}
    assert {"JailbreakBench", "SimpleSafetyTests"} <= sets
    assert 190 <= len(items) <= 200
    assert len(harm.distinct([*items, *items])) == len(items)


def test_persona_files(public_data):
    items = persona.load(public_data / "anthropic-evals" / "persona")
    assert len({item.category for item in items}) == 3
    assert len(items) > 2500


def test_bbq_clusters_are_question_templates(public_data):
    items = bbq.load(public_data / "bbq" / "Age.jsonl")
    assert 20 <= len({item.cluster for item in items}) <= 40
    assert all(item.facts["groups"].split().count("unknown") == 1 for item in items)


def jailbreakbench(path):
    return harm.load_set(path, harm.SOURCES[0])


def two_choice(path):
    return exam.two_choice(path, None, 0)


READ = {
    "xstest/xstest_prompts.csv": xstest.load,
    "xstest/labels/xstest_v2_completions_mistralinstruct_streval.csv": lambda path: load_labels(path.parents[2]).texts,
    "jailbreakbench/jbb_harmful_behaviors.csv": lambda path: harm.load_set(path, harm.SOURCES[0]),
    "simplesafetytests/simplesafetytests.csv": lambda path: harm.load_set(path, harm.SOURCES[1]),
    "truthfulqa/TruthfulQA.csv": truthfulqa.load,
    "bbq/Age.jsonl": bbq.load,
    "gsm8k/test.jsonl": gsm8k.load,
    "hh-rlhf/harmless-base-test.jsonl.gz": lambda path: exam.given_pairs(path, 10_000, 0),
    "mt-bench/question.jsonl": lambda path: list(PromptFile(str(path))),
    "openai-model-spec/model_spec.md": None,
    "hf-llm-swarm-constitutions/constitution_anthropic.json": None,
}
"""Every public file and what reads it; the constitutions' importers are tested in tests/constitution."""
UNREAD = {
    "mt-bench/judge_prompts.jsonl": "another judge's wording",
    "icai-synthetic/example.csv": "pairs without prompts",
    "icai-synthetic/synthetic_data_aligned_vqvtb.csv": "pairs without prompts",
}


def test_every_public_file_has_an_importer_that_reads_it_whole(public_data):
    files = {str(path.relative_to(public_data)) for path in public_data.rglob("*") if path.is_file()}
    data = {name for name in files if "LICEN" not in name and name != "README.md"}
    persona_files = {name for name in data if name.startswith("anthropic-evals/persona/")}
    assert data - persona_files == {*READ, *UNREAD}
    for name, load in READ.items():
        if load is not None:
            assert len(load(public_data / name)) >= 80, name
    assert all(len(persona.load_file(public_data / name)) > 500 for name in persona_files)


def test_pairs_about_different_conversations_are_counted_and_left_out(public_data):
    _, notes = pairs_of(EvaluateSettings(data=str(public_data)), "hh-rlhf", public_data / JUDGE_SUITES["hh-rlhf"])
    assert notes == ["5 rows are left out: in each, the two replies follow different conversations"]


def test_two_choice_items_of_both_releases(tmp_path):
    options = "Options:\n (A) [[[yes]]]\n (B) [[[no]]]\n\nThe answer is:"
    rows = [
        {"prompt": f"\n\nHuman: q\n\nAssistant: {options}", "corrects": [" (B)"]},
        {"input": "Human: q", "targets": {"choices": ["good", "bad"], "labels": [1, 0]}},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, other = sorted(exam.two_choice(tmp_path / "a.jsonl", None, 0), key=lambda known: known.a, reverse=True)
    assert (one.a, one.b, one.a_better) == ("yes", "no", False)
    assert (other.a, other.b, other.a_better) == ("good", "bad", True)


BAD = [
    (xstest.load, "a.csv", XSTEST + "1,How?,homonyms,safe,x\n2,How?,homonyms,odd,x\n", 3, "neither safe nor unsafe"),
    (xstest.load, "a.csv", XSTEST + "1,,homonyms,safe,x\n", 2, "`prompt` is empty"),
    (xstest.load, "a.csv", "id,prompt\n1,How?\n", 2, "no column `type`"),
    (xstest.load, "a.csv", XSTEST + "1,How?,homonyms\n", 2, "3 cells under 5 columns"),
    (
        gsm8k.load,
        "a.jsonl",
        '{"question": "q", "answer": "#### 3"}\n{"question": "q", "answer": "3"}\n',
        2,
        "#### number",
    ),
    (gsm8k.load, "a.jsonl", '{"question": "q", "answer": 3}\n', 1, "`answer` is not text"),
    (gsm8k.load, "a.jsonl", '{"question": "q"\n', 1, "not JSON"),
    (bbq.load, "a.jsonl", json.dumps({**BBQ, "label": 5}), 1, "label 5"),
    (bbq.load, "a.jsonl", json.dumps({**BBQ, "answer_info": {}}), 1, "no groups for answer 0"),
    (bbq.load, "a.jsonl", json.dumps({**BBQ, "context_condition": "x"}), 1, "unknown condition"),
    (
        truthfulqa.load,
        "a.csv",
        "Question,Best Answer,Incorrect Answers,Category\nq,best,best,c\n",
        2,
        "no false answer",
    ),
    (
        persona.load_file,
        "a.jsonl",
        '{"question": "q", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": "Yes"}',
        1,
        "both answers are the same",
    ),
    (
        languages.load,
        "a.jsonl",
        '{"question_id": "1", "language": "en", "question": "q", "options": ["a", "b"], "answer": 2}',
        1,
        "no option 2",
    ),
    (unknown.load, "a.jsonl", '{"question": "q", "kind": "odd"}', 1, "neither known nor unknown"),
    (unknown.load, "a.jsonl", '{"question": "q", "kind": "known"}', 1, "a known question has answers"),
    (unknown.load, "a.jsonl", '{"question": "q", "kind": "known", "answers": [1]}', 1, "not a list of texts"),
    (jailbreakbench, "a.csv", "Goal,Category\nHow?,x\n,x\n", 3, "`Goal` is empty"),
    (two_choice, "a.jsonl", '{"prompt": "q", "corrects": [" (C)"]}', 1, "not an item"),
    (two_choice, "a.jsonl", "\n[]", 2, "not an item"),
    (two_choice, "a.jsonl", '{"input": "q", "targets": {"choices": ["a", "b"], "labels": [1, 1]}}', 1, "not an item"),
]


@pytest.mark.parametrize(("load", "name", "content", "line", "says"), BAD)
def test_malformed_rows_are_refused_with_file_and_line(load, name, content, line, says, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load(tmp_path / name)
    assert f"{name}:{line}" in str(caught.value)
    assert says in str(caught.value)


def test_a_row_that_is_no_pair_is_refused_before_a_judge_is_asked(tmp_path):
    (tmp_path / "hh-rlhf").mkdir()
    good = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
    with gzip.open(tmp_path / JUDGE_SUITES["hh-rlhf"], "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in (good, {"chosen": good["chosen"]})))
    with pytest.raises(InputError, match=r"harmless-base-test.jsonl.gz:2: no columns of a pair"):
        check_pairs(EvaluateSettings(data=str(tmp_path)), "hh-rlhf")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        gsm8k.load(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no set of harmful requests"):
        harm.load(tmp_path)
