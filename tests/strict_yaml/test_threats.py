"""Hostile and careless YAML: refused quickly, in little memory, with a place and a remedy."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from cai.errors import InputError
from cai.strict_yaml import load
from cai.strict_yaml.parse import MAX_BYTES, MAX_DEPTH, MAX_EVENTS

ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(text: str) -> tuple[InputError, float, int]:
    """The error, the seconds and the peak bytes that refusing a text took."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        load(text, name="f.yaml")
    except InputError as error:
        str(error)
        return error, time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raise AssertionError("it was not refused")


def test_alias_bomb_is_refused_before_anything_is_built() -> None:
    assert len(ALIAS_BOMB) < 600
    error, seconds, peak = refusal(ALIAS_BOMB)
    assert "anchors and aliases" in error.what
    assert (error.where.line, error.where.column) == (1, 4)
    assert seconds < 0.1
    assert peak < 100 << 20


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "[{a: "])
def test_deep_nesting_is_refused_at_the_limit(opening: str) -> None:
    error, seconds, peak = refusal(opening * 10_000)
    assert f"deeper than {MAX_DEPTH}" in error.what
    assert error.where.line == 1
    assert seconds < 0.5
    assert peak < 100 << 20


def test_nesting_up_to_the_limit_is_read() -> None:
    value = load("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    depth = 1
    while value:
        value, depth = value[0], depth + 1
    assert depth == MAX_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch canary']",
        "a: !!python/name:os.system",
        "a: !!python/object/new:subprocess.Popen [[touch, canary]]",
        "a: !!python/tuple [1]",
        "a: !local x",
        "a: !<tag:example.org,2000:x> y",
        "%TAG ! tag:example.org,2000:\n---\na: !x y",
        "a: !!binary aGVsbG8=",
        "a: !!timestamp 2001-12-14",
        "a: !!set {x}",
        "a: !!omap [x: 1]",
        "!!python/object:os.system x: 1",
    ],
)
def test_odd_tags_are_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="tag"):
        load(text)
    assert not (tmp_path / "canary").exists()


def test_core_tags_mean_what_they_say() -> None:
    text = "a: !!str 12\nb: !!int 3\nc: !!float 3\nd: !!bool true\ne: !!null ''\nf: !!seq [1]\ng: !!map {x: 1}\n"
    assert load(text).value == {"a": "12", "b": 3, "c": 3.0, "d": True, "e": None, "f": [1], "g": {"x": 1}}
    with pytest.raises(InputError, match="is not a !!int"):
        load("a: !!int many")


def test_every_duplicate_key_is_named_with_both_lines() -> None:
    with pytest.raises(InputError) as caught:
        load("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", name="f.yaml")
    assert str(caught.value).splitlines() == [
        "f.yaml:5:3: the key `c` is already on line 3; keep one of the two",
        "f.yaml:6:1: the key `a` is already on line 1; keep one of the two",
    ]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("5e-7", 5e-7),
        ("1e5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("012", 12),
        ("0o14", 12),
        ("0xC", 12),
        ("+12", 12),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("2001-12-14", "2001-12-14"),
        ("12e03", 12000.0),
        ("-.inf", float("-inf")),
        ("inf", "inf"),
        ("nan", "nan"),
        ("=", "="),
        ("<<", "<<"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  7\n", "7\n"),
    ],
)
def test_scalars_follow_the_core_schema(scalar: str, value: object) -> None:
    read = load(f"a: {scalar}").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_keys_stay_text() -> None:
    assert load("no: 1\n12: 2\nnull: 3\n").value == {"no": 1, "12": 2, "null": 3}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\n---\nb: 2\n", "second document"),
        ("? [a]\n: b\n", "a key must be text"),
        ("a:\n\tb: 1\n", "a tab"),
        ("a: x\n\tb: 1\n", "a tab"),
        ("a: \x07", "U\\+0007"),
        ("a: \x9b31m", "U\\+009B"),
        ('a: "\\x1b[31m"', "U\\+001B"),
        ("a: \ud800", "U\\+D800"),
        ("a: *all* of it", r"cannot start with `&` or `\*`"),
        ("a: &k x", r"anchors and aliases \(`k`\)"),
        ("a: @x", "cannot start with `@`"),
        ("a: 'x", "unexpected end"),
        ("a: " + "9" * 5_000, "a number of 5,000"),
        ("a: 'x'y", "not YAML"),
        ("[" + "1," * MAX_EVENTS + "1]", "more than 50,000 parts"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        load(text, name="f.yaml")
    first = str(caught.value).splitlines()[0]
    assert first.startswith("f.yaml:")
    assert "; " in first


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xfen\x00a\x00", "UTF-16"),
        (b"name: caf\xe9\n", "0xe9 is not UTF-8"),
        (b"a" * (MAX_BYTES + 1), "larger than 1,024 KiB"),
    ],
)
def test_files_that_are_not_text_of_a_sane_size(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=what):
        load(path)


def test_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nlist:\r\n  - caf\xc3\xa9\r\n")
    doc = load(path)
    assert doc.value == {"name": "x", "list": ["café"]}
    assert str(doc.where("list", 0)) == f"{path}:3:5: list[0]"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="this is a folder"):
        load(tmp_path)
