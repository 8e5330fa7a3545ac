"""Replies and pairs from files: read with care, refused with their place."""

import json
from pathlib import Path

import pytest

from cai.errors import InputError
from cai.judge.given import Given, GivenFile

ASSISTANT = [{"role": "assistant", "content": "Yes."}]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_pairs_in_every_shape_give_the_same(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi?"}]
    rows = [
        {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": talk, "chosen": ASSISTANT, "rejected": [{"role": "assistant", "content": "No."}]},
        {"chosen": [*talk, *ASSISTANT], "rejected": [*talk, {"role": "assistant", "content": "No."}]},
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Hi?\n\nAssistant: No."},
        {"prompt": "Hi?", "reply_a": "Yes.", "reply_b": "No."},
    ]
    given = list(GivenFile(write(tmp_path / "p.jsonl", *rows), "pairs"))
    assert len(given) == 5
    assert {one.replies for one in given} == {("Yes.", "No.")}
    assert {one.prompt.id for one in given} == {given[0].prompt.id}


def test_our_own_pairs_can_be_labelled_again(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"prompt": [{"role": "user", "content": "Hi?"}], "chosen": ASSISTANT, "rejected": ASSISTANT, "p_chosen": 0.7}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "pairs.parquet")
    (given,) = GivenFile(tmp_path / "pairs.parquet", "pairs")
    assert given.replies == ("Yes.", "Yes.")


def test_replies(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"prompt": "Hi?", "replies": ["a", "b", "c"], "category": "greeting"})
    (given,) = GivenFile(path, "replies")
    assert isinstance(given, Given)
    assert given.replies == ("a", "b", "c")
    assert given.prompt.category == "greeting"


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("pairs", {"prompt": "Hi?", "chosen": "Yes."}, "no columns of a pair"),
        ("pairs", {"chosen": "Yes.", "rejected": "No."}, "no prompt; add a column `prompt`"),
        (
            "pairs",
            {"prompt": "Hi?", "chosen": 3, "rejected": "No."},
            "a reply is a text or a list of messages, not int",
        ),
        (
            "pairs",
            {"chosen": "\n\nHuman: Hi?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Ho?\n\nAssistant: No."},
            "the two replies follow different conversations",
        ),
        ("pairs", {"chosen": "\n\nHuman: Hi?", "rejected": "\n\nHuman: Hi?"}, "the last turn is not the assistant's"),
        ("replies", {"prompt": "Hi?", "replies": ["only"]}, "1 replies; give 2 to 16"),
        ("replies", {"prompt": "Hi?", "replies": ["x"] * 17}, "17 replies; give 2 to 16"),
        ("replies", {"prompt": "Hi?", "replies": "a"}, "replies are a list"),
        ("replies", {"prompt": "Hi?"}, "no column of replies"),
    ],
)
def test_bad_rows_are_named(kind: str, row: object, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", row)
    with pytest.raises(InputError, match=r"bad\.jsonl:1") as raised:
        GivenFile(path, kind).check()  # pyright: ignore[reportArgumentType]
    assert said in str(raised.value)


def test_bad_rows_may_be_skipped_but_not_all_of_them(tmp_path: Path) -> None:
    good = {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}
    path = write(tmp_path / "p.jsonl", good, {"prompt": "Hi?"}, good)
    assert GivenFile(path, "pairs").check(skip_bad_rows=True) == 2
    assert len(list(GivenFile(path, "pairs", limit=1))) == 1
    with pytest.raises(InputError, match="no rows to judge"):
        GivenFile(write(tmp_path / "q.jsonl", {"prompt": "Hi?"}), "pairs").check(skip_bad_rows=True)
    with pytest.raises(InputError, match="no such file"):
        GivenFile(tmp_path / "none.jsonl", "pairs").check()
