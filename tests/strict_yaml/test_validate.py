"""Data that does not fit a model: every problem with its place, near names suggested, no type bent."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from cai.errors import InputError, InputErrors
from cai.records import Record
from cai.strict_yaml import find_problems, load, validate


class Inner(Record):
    judge: str
    weight: float = 1.0


class Outer(Record):
    name: str
    count: int = 0
    share: float = 0.5
    on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    items: tuple[str | Inner, ...] = ()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    maybe: Inner | None = None


def lines(text: str) -> list[str]:
    return [str(problem) for problem in find_problems(load(text, name="f"), Outer)[1]]


def test_a_fitting_document_becomes_the_model() -> None:
    doc = load("name: no\ncount: 3\nshare: 1\nitems:\n  - a\n  - judge: b\nby_name: {x: {judge: c}}\nmaybe: ~\n")
    assert validate(doc, Outer) == Outer(
        name="no", count=3, share=1.0, items=("a", Inner(judge="b")), by_name={"x": Inner(judge="c")}
    )


def test_a_part_of_a_document_is_validated_with_places_of_the_whole() -> None:
    doc = load("critique:\n  judge: x\n  wieght: 2\n", name="f")
    with pytest.raises(InputErrors) as caught:
        validate(doc, Inner, at=("critique",))
    assert str(caught.value) == "f:3:3: critique.wieght: unknown key `wieght`; did you mean `weight`?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: 3", "f:1:7: name: must be text, not `3`; put it in quotes if it is meant as text"),
        ("name: ", "f:1:6: name: must be text, not empty; put it in quotes if it is meant as text"),
        (
            "name: x\ncount: 1.5",
            "f:2:8: count: must be a whole number, not `1.5`; write digits, without quotes or a fraction",
        ),
        (
            "name: x\ncount: '1'",
            "f:2:8: count: must be a whole number, not the text `1`; write digits, without quotes or a fraction",
        ),
        (
            "name: x\ncount: true",
            "f:2:8: count: must be a whole number, not `true`; write digits, without quotes or a fraction",
        ),
        (
            "name: x\non: yes",
            "f:2:5: on: must be true or false, not the text `yes`; write true or false without quotes",
        ),
        ("name: x\nmode: fsat", "f:2:7: mode: `fsat` is not an option here; did you mean `fast`?"),
        ("name: x\nmode: 7", "f:2:7: mode: `7` is not an option here; write one of fast, slow"),
        (
            "name: x\nitems: a",
            "f:2:8: items: must be a list, not the text `a`; write [one, two], or start each item with `- `",
        ),
        ("name: x\nitems: [4]", "f:2:9: items[0]: must be text or a mapping, not `4`; write one of these"),
        ("name: x\nitems: [{}]", "f:2:9: items[0]: the key `judge` is missing; add `judge:`"),
        ("name: x\nmaybe: 4", "f:2:8: maybe: must be a mapping, not `4`; write it as `key: value` lines"),
        (
            "name: x\nby_name: {x: {jugde: y, judge: z}}",
            "f:2:15: by_name.x.jugde: unknown key `jugde`; did you mean `judge`?",
        ),
        (
            "name: x\nmy text: here",
            "f:2:1: my text: unknown key `my text`; "
            "put text that holds `: ` in quotes, or it is read as a key and a value",
        ),
        ("count: 1", "f:1:1: the key `name` is missing; add `name:`"),
        (
            "name: x\nitems: [{Note: be kind}]",
            "f:2:10: items[0].Note: unknown key `Note`; "
            "put text that holds `: ` in quotes, or it is read as a key and a value",
        ),
    ],
)
def test_one_problem_is_one_line(text: str, expected: str) -> None:
    assert lines(text) == [expected]


@pytest.mark.parametrize(
    ("text", "what"), [("", "nothing in it"), ("- a", "not a list"), ("a b", "not the text `a b`")]
)
def test_a_document_that_is_no_mapping(text: str, what: str) -> None:
    assert what in lines(text)[0]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = lines("nam: x\ncount: a\nitems:\n  - judge: 1\n  - wight: 2\nmode: no\n")
    assert [line.split(":")[1] for line in found] == ["1", "1", "2", "4", "5", "5", "6"]


def test_a_file_with_very_many_problems_is_cut() -> None:
    found = lines("name: x\n" + "".join(f"k{i}: 1\n" for i in range(500)))
    assert len(found) == 101
    assert found[-1] == "f:102:1: and 400 more problems from here on; mend those before first"


def test_a_long_value_is_cut_and_escaped_in_the_message() -> None:
    (line,) = lines("name: x\ncount: '" + "\u202eab\u00e9" * 1_000 + "'")
    assert len(line) < 500
    assert "\u202e" not in line
    assert "\\u202eabé" in line


SAFE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | SAFE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SAFE, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_read_as_json(value: object) -> None:
    assert load(json.dumps(value, ensure_ascii=False)).value == value


@given(st.text(max_size=200) | st.text("-:[]{}&*!|>'\"%@`#,? \n\tabn0.~<", max_size=60))
@settings(max_examples=300)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        doc = load(text, name="f")
    except InputError as error:
        assert str(error).startswith("f:")  # noqa: PT017
    else:
        find_problems(doc, Outer)
