"""Untrusted text on the terminal, and the progress line."""

import contextlib
import io
import os
import pty

import pytest

from cai.cli.terminal import duration, one_line, plain, progress_bar, status
from cai.records import Usage
from cai.store import Counts


def everything(leader: int) -> bytes:
    """What was written to a pseudo-terminal whose other end is closed."""
    read = b""
    with os.fdopen(leader, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while part := file.read(4096):
            read += part
    return read


CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"]
BIDI = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def counts(**given: object) -> Counts:
    values: dict[str, object] = {
        "total": 200,
        "ok": 50,
        "quarantined": 0,
        "usage": Usage(completion_tokens=9000),
        "done_now": 25,
        "usage_now": Usage(completion_tokens=5000),
        "seconds": 10.0,
        "max_error_rate": 0.05,
    }
    return Counts(**{**values, **given})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("character", CONTROLS + BIDI)
def test_every_control_and_direction_character_is_dropped(character: str) -> None:
    assert plain(f"a{character}b") == "ab"


@pytest.mark.parametrize(
    "payload",
    [
        "\x1b]52;c;cm0gLXJm\x07",  # writes the clipboard
        "\x1b]0;title\x07",
        "\x1b[2J\x1b[1;1H",
        "\x9b31m",
        "\x90q\x9c",
        "50 %\r100 %",
    ],
)
def test_no_byte_of_an_escape_sequence_that_a_terminal_obeys_is_left(payload: str) -> None:
    written = plain(payload).encode("utf-8")
    assert not any(byte < 0x20 or byte == 0x7F for byte in written)
    assert not set(plain(payload)) & {"\x90", "\x9b", "\x9c", "\x9d"}


def test_ordinary_text_of_any_script_is_untouched() -> None:
    text = "[/INST] [bold]naïve[/bold]\n\tdéjà vu · 日本語 · עברית · 👩‍👩‍👧"
    assert plain(text) == text


def test_half_a_surrogate_pair_can_be_printed() -> None:
    assert plain("a\ud800b").encode("utf-8") == "a\ufffdb".encode()


def test_one_line_is_cut_and_has_no_breaks() -> None:
    assert one_line("a\nb\r\n c\x1b[31m") == "a b c[31m"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"


def test_durations_read_like_a_person_says_them() -> None:
    assert [duration(s) for s in (6.6, 200, 7500)] == ["7 s", "3 min 20 s", "2 h 5 min"]


def test_status_counts_the_speed_of_this_pass_only() -> None:
    # 25 records and 5,000 tokens in 10 s; 150 records left at 2.5 a second are 60 s.
    assert status(counts()) == "50/200 · 500 tokens/s · 1 min 0 s left"
    assert status(counts(quarantined=2, total=None)) == "52 · 2 quarantined · 500 tokens/s"
    assert status(counts(stopping=True, in_flight=7)) == "50/200 · stopping, 7 in flight; once more drops them"
    assert status(counts(done_now=0)) == "50/200"


def test_without_a_terminal_the_last_standing_is_told_in_a_plain_line() -> None:
    out = io.StringIO()
    with progress_bar("critique", out) as show:
        for ok in (1, 2, 3):
            show(counts(ok=ok))
    assert out.getvalue() == "critique: 3/200 · 500 tokens/s · 1 min 19 s left\n"


def test_on_a_terminal_there_is_a_bar_and_brackets_are_text() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, progress_bar("critique [/INST]", terminal) as show:
        show(counts(ok=200, total=200))
    shown = everything(leader).decode()
    assert "critique [/INST]" in shown
    assert "200/200" in shown
    assert "━" in shown
