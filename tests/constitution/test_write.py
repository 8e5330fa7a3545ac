"""A constitution written as YAML and read back is the same constitution."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.constitution import (
    Constitution,
    Example,
    JudgeExample,
    Loop,
    Principle,
    load_constitution,
    shipped_constitutions,
)
from cai.constitution.template import new_text
from cai.constitution.write import to_yaml


def read_back(text: str) -> Constitution:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(text, encoding="utf-8", newline="")
        return load_constitution(path)


@pytest.mark.parametrize("name", shipped_constitutions())
def test_a_shipped_one_becomes_one_file_of_the_same_meaning(name: str) -> None:
    constitution = load_constitution(name)
    text = to_yaml(constitution)
    assert "use:" not in text
    assert read_back(text) == constitution


ODD = [
    "no",
    "~",
    "5e-7",
    "0o7",
    "12",
    "true",
    "",
    "- a",
    "a: b",
    "# c",
    "'",
    '"',
    "{x}",
    "!t",
    "&a",
    "*a",
    "@",
    "%",
    "---",
]
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
PLAIN = st.text(CHARACTERS | st.sampled_from("\n :#-'\"{}[]|>"), min_size=1, max_size=150)
TEXT = (PLAIN | st.sampled_from(ODD) | st.lists(st.sampled_from(ODD), min_size=1).map(" ".join)).map(str.strip)
TEXT = TEXT.filter(bool)
ID = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True)


@st.composite
def constitutions(draw: st.DrawFn) -> Constitution:
    ids = draw(st.lists(ID, max_size=4, unique=True))
    sentence = st.builds(Principle.from_sentence, id=st.just("x"), sentence=TEXT)
    voices = st.builds(Principle, id=st.just("x"), critique=TEXT, revise=TEXT, judge=TEXT | st.just(""))
    judged = st.builds(Principle, id=st.just("x"), judge=TEXT)
    extras = st.fixed_dictionaries(
        {
            "weight": st.floats(0.01, 100.0),
            "priority": st.integers(-9, 9),
            "tags": st.lists(TEXT, max_size=2).map(tuple),
        }
    )
    principles = [draw(sentence | voices | judged).model_copy(update={"id": id, **draw(extras)}) for id in ids]
    round_ = st.builds(
        Example, prompt=TEXT, reply=TEXT, critique_request=TEXT, critique=TEXT, revise_request=TEXT, revision=TEXT
    )
    noop = st.builds(Example, prompt=TEXT, reply=TEXT, critique_request=TEXT, critique=TEXT)
    compared = st.builds(JudgeExample, prompt=TEXT, a=TEXT, b=TEXT, judge=TEXT, answer=st.sampled_from(["A", "B"]))
    return Constitution(
        name=draw(ID),
        description=draw(TEXT | st.just("")),
        principles=tuple(principles),
        examples=tuple(draw(st.lists(round_ | noop, max_size=2))),
        judge_examples=tuple(draw(st.lists(compared, max_size=2))),
        loop=Loop(rounds=draw(st.integers(0, 32)), draw=draw(st.sampled_from(["random", "all"])), final_check=True),
    )


@given(constitutions())
@settings(max_examples=150, deadline=None)
def test_any_constitution_survives_its_own_file(constitution: Constitution) -> None:
    assert read_back(to_yaml(constitution)) == constitution


def test_a_note_stands_under_the_modeline() -> None:
    text = to_yaml(load_constitution("minimal"), schema="../s.json", note="one\ntwo")
    assert text.splitlines()[:3] == ["# yaml-language-server: $schema=../s.json", "# one", "# two"]


def test_the_template_is_a_working_constitution() -> None:
    constitution = read_back(new_text("mine", file="mine.yaml"))
    assert constitution.name == "mine"
    assert [p.id for p in constitution.principles] == [
        "harmlessness/no-help-with-harm",
        "keep-the-reply-short-where-the",
        "plain-words",
    ]
