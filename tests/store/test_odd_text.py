"""Text nobody expects: stored and read back exactly, or quarantined with a message; never a stopped run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from small_stage import IDENTITY, Answer, stage

from cai.errors import RecordFault
from cai.records import Usage
from cai.store import open_run

ANY = st.text(st.characters(codec=None), max_size=50) | st.sampled_from(
    [
        "\0",
        "a\0b",
        "\ufeff",
        "\ud800",
        "\udc00\ud800",
        "\U0001f600",
        "\r\n",
        "\u2028",
        "'; DROP TABLE rows; --",
        '"',
        "\\u0000",
    ]
)


def is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=8))
def test_any_text_is_read_back_exactly_or_quarantined(texts: list[str]) -> None:
    async def work(item: int) -> Answer:
        return Answer(item=item, text=texts[item], usage=Usage())

    with tempfile.TemporaryDirectory() as base, open_run(Path(base), "r", stage="test", identity=IDENTITY) as run:
        stage(run, range(len(texts)), work)
        for text, row in zip(texts, run.rows("test", Answer), strict=True):
            if is_utf8(text):
                assert row.body is not None
                assert row.body.text == text
            else:
                assert (row.state, row.kind) == ("quarantined", "BadText")
                assert "cannot be written as UTF-8" in row.error


@settings(max_examples=10, deadline=None)
@given(ANY)
def test_any_message_of_a_fault_is_kept_readable(message: str) -> None:
    async def work(item: int) -> Answer:
        raise RecordFault(f"before {message} after")

    with tempfile.TemporaryDirectory() as base, open_run(Path(base), "r", stage="test", identity=IDENTITY) as run:
        stage(run, range(1), work)
        (row,) = run.rows("test", Answer)
        assert row.error.startswith("before ")
        assert row.error.endswith(" after")
        assert not is_utf8(message) or row.error == f"before {message} after"


def test_ten_megabytes_in_one_record(base: Path) -> None:
    text = "ÄÖÜ 日本 " * 1_000_000

    async def work(item: int) -> Answer:
        return Answer(item=item, text=text, usage=Usage())

    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(2), work)
        assert [row.body.text == text for row in run.rows("test", Answer) if row.body] == [True, True]
