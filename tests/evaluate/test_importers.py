"""Every importer: the public files where they are there, and malformed rows named by file and line."""

import json

import pytest

from cai.errors import InputError
from cai.evaluate.suites import SUITES, bbq, gsm8k, harm, languages, persona, truthfulqa, xstest

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
]


@pytest.mark.parametrize(("load", "name", "content", "line", "says"), BAD)
def test_malformed_rows_are_refused_with_file_and_line(load, name, content, line, says, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load(tmp_path / name)
    assert f"{name}:{line}" in str(caught.value)
    assert says in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        gsm8k.load(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no set of harmful requests"):
        harm.load(tmp_path)
