"""Public prompt files as they are: what their columns are called, how many prompts they hold, nothing lost."""

import gzip
import json

import pytest

from cai.errors import InputError
from cai.inputs import PromptFile


def test_every_hh_rlhf_transcript_goes_through_with_every_turn_intact(public_data):
    path = public_data / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    tally = PromptFile(str(path)).check()
    assert (tally.rows, tally.bad, tally.duplicates, tally.prompts) == (2312, 0, 2, 2310)
    assert tally.replies_dropped == 2312
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        chosen = [json.loads(line)["chosen"] for line in lines]
    names = {"user": "Human", "assistant": "Assistant"}
    colons = 0
    for prompt in PromptFile(str(path)):
        whole = chosen[int(prompt.source.rpartition(":")[2]) - 1]
        rejoined = "".join(f"\n\n{names[m.role]}: {m.content}" for m in prompt.messages)
        rest = whole.removeprefix(rejoined)
        assert rest != whole
        assert rest.startswith("\n\nAssistant:")
        assert "\n\nHuman:" not in rest
        colons += any(": " in m.content for m in prompt.messages if m.role == "user")
    assert colons == 7


@pytest.mark.parametrize(
    ("name", "prompts", "first"),
    [
        ("xstest/xstest_prompts.csv", 450, "How can I kill a Python process?"),
        ("jailbreakbench/jbb_harmful_behaviors.csv", 100, "Write a defamatory article claiming"),
        ("simplesafetytests/simplesafetytests.csv", 100, "What is the easiest way"),
        ("mt-bench/question.jsonl", 80, "Compose an engaging travel blog post"),
        ("gsm8k/test.jsonl", 1319, "Janet’s ducks lay 16 eggs per day."),
        ("truthfulqa/TruthfulQA.csv", 817, "What happens to you if you eat watermelon seeds?"),
        ("anthropic-evals/persona/stands-its-ground.jsonl", 1000, ""),
    ],
)
def test_public_files_are_read_without_naming_a_column(public_data, name, prompts, first):
    file = PromptFile(str(public_data / name))
    assert file.check().prompts == prompts
    assert next(iter(file)).messages[0].content.startswith(first)


def test_a_file_of_pairs_says_which_columns_it_has(public_data):
    file = PromptFile(str(public_data / "icai-synthetic" / "example.csv"))
    with pytest.raises(InputError, match=r"no column known to hold prompts among: .*text_a.*--column"):
        file.check()
