"""Out to people and back: a blind, stratified, harmless file, and what their answers say about the judge."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest

from cai.errors import InputError
from cai.judge.alignment import align
from cai.judge.people import Item, Judged, as_csv, as_jsonl, judged, read_answers, safe_cell, stratified
from cai.judge.report import alignment_lines
from cai.records import Comparison, Label, Usage, Verdict
from tests.judge.shown import SHORTER, prompt

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "=cmd|'/c calc'!A0",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u00a0=1",
    "\ufeff=1",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "|x",
    "%0A=1",
    '=HYPERLINK("http://x","y")',
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


def test_ordinary_texts_stay_as_they_are() -> None:
    for text in ("", "a = b", "2 - 1", "Which reply?", "'quoted'"):
        assert safe_cell(text) == text


def label(number: int, p_a: float, category: str = "", principle: str = "p", p_other: float | None = None) -> Label:
    def vote(judge: str, p: float) -> Verdict:
        return Verdict(principle=principle, judge=judge, mode="logprob", order="ab", p_a=p, mass=1.0, raw="")

    votes = [vote("j", p_a), *([vote("k", p_other)] if p_other is not None else [])]
    return Label(
        prompt=prompt(f"Question {number}?", category),
        replies=(f"=left {number}", f"right {number}"),
        comparisons=(Comparison(a=0, b=1, votes=tuple(votes), p_a=p_a),),
        provenance="samples",
        constitution="sha",
        seed=0,
        usage=Usage(),
    )


def test_the_sample_keeps_the_shares_of_category_principle_and_confidence() -> None:
    labels = [
        label(n, 0.95 if n % 5 else 0.55, "rare" if n % 10 == 0 else "common", "p" if n % 2 else "q")
        for n in range(200)
    ]
    drawn = stratified(judged(labels), 0.2, 3)
    assert len(drawn) == 40
    assert Counter(one.label.prompt.category for one in drawn) == {"common": 36, "rare": 4}
    assert Counter(one.principles[0] for one in drawn) == {"p": 20, "q": 20}
    assert 6 <= sum(one.label.comparisons[0].p_a == 0.55 for one in drawn) <= 10
    assert drawn == stratified(judged(labels), 0.2, 3)
    assert drawn != stratified(judged(labels), 0.2, 4)


def test_people_see_no_verdict_and_either_reply_may_be_the_first() -> None:
    labels = [label(n, 0.9) for n in range(60)]
    ones = list(judged(labels))
    firsts = sum(one.item({}).reply_1.startswith("=left") for one in ones)
    assert 15 < firsts < 45
    table = as_csv([one.item({"p": SHORTER.judge}) for one in ones])
    assert "0.9" not in table
    rows = list(csv.DictReader(io.StringIO(table)))
    assert rows[0]["question"] == SHORTER.judge
    assert all(not row[name].startswith("=") for row in rows for name in row)


def fill(ones: list[Judged], said: list[str], path: Path) -> Path:
    items = [one.item({}) for one in ones]
    if path.suffix == ".jsonl":
        filled = [item.model_copy(update={"answer": answer or None}) for item, answer in zip(items, said, strict=True)]
        path.write_text(as_jsonl(filled))
        return path
    rows = list(csv.reader(io.StringIO(as_csv(items))))
    out = io.StringIO()
    csv.writer(out).writerows([rows[0], *([*row[:-1], answer] for row, answer in zip(rows[1:], said, strict=True))])
    path.write_text(out.getvalue())
    return path


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
def test_answers_come_back_to_their_labels(name: str, tmp_path: Path) -> None:
    # The judge says a with 0.8 five times; people agree on three, contradict one, call one a tie; one is not answered,
    # one cannot be told.
    labels = [label(n, 0.8, "c") for n in range(7)]
    ones = list(judged(labels))
    agree = ["1" if one.a_first else "2" for one in ones]
    against = "2" if ones[3].a_first else "1"
    said = [*agree[:3], against, "tie", "", "cannot tell"]
    answers = read_answers(fill(ones, said, tmp_path / name))
    assert len(answers) == 6
    found = align(labels, {**answers, "unknown": "1"}, importance={})
    assert (found.answers, found.unmatched, found.ties, found.cannot_tell) == (7, 1, 1, 1)
    assert found.accuracy.value == 0.75
    assert found.measured is not None
    assert found.measured.brier == pytest.approx((3 * 0.04 + 0.64 + 0.09) / 5)
    assert found.measured.ece == pytest.approx(abs(0.8 - 3.5 / 5))
    assert [(part.name, part.accuracy.value) for part in found.categories] == [("c", 0.75)]
    assert [error.p_right for error in found.errors] == [pytest.approx(0.2)]
    assert any("accuracy against people 75.0%" in line for line in alignment_lines(found))


def test_answers_in_odd_spellings_and_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,answer\nx, TIE \ny,?\nz,'2\nw,=\n")
    assert read_answers(path) == {"x": "tie", "y": "cannot tell", "z": "2", "w": "tie"}
    path.write_text("id,answer\nx,1\ny,both\n")
    with pytest.raises(InputError, match=r"a.csv:3: answer 'both'; write 1, 2, tie or cannot tell"):
        read_answers(path)
    path.write_text("id,answer\nx,1\nx,2\n")
    with pytest.raises(InputError, match="a second, different answer"):
        read_answers(path)
    path.write_text("id,answer\nx,\n")
    with pytest.raises(InputError, match="no answers in the file"):
        read_answers(path)


def test_several_judges_get_weights_from_enough_answers() -> None:
    labels = [label(n, 0.9 if n % 2 else 0.1, p_other=0.5 + 0.3 * (-1) ** (n // 3)) for n in range(60)]
    ones = list(judged(labels))
    answers = {one.id: "1" if one.a_first == ((one.comparison.p_a or 0.0) > 0.5) else "2" for one in ones}
    found = align(labels, answers, importance={})  # pyright: ignore[reportArgumentType]
    assert found.weights is not None
    assert found.weights.judges["j"] > abs(found.weights.judges["k"])
    assert align(labels[:10], answers, importance={}).weights is None  # pyright: ignore[reportArgumentType]


def test_an_item_survives_its_own_file() -> None:
    item = next(judged([label(1, 0.9)])).item({})
    assert Item.model_validate_json(as_jsonl([item])) == item
