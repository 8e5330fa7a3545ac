"""A run's name is a plain file name, and its folder lies in the folder of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.errors import InputError
from cai.store import open_run

BAD = [
    "", ".", "..", "../x", "../../etc", "a/b", "a/../b", "/etc", "/", "a\\b", "..\\x", "C:\\x", "~", "~root",
    ".hidden", "-rf", "--yes", "_x", "a b", " a", "a ", "a\n", "\na", "a\0b", "a\tb", "a:b", "a*", "a?", "$HOME",
    "$(x)", "`x`", "a;b", "a|b", "a&b", "é", "a\u202eb", "٣", "a\ud800", "x" * 101, "%2e%2e",
]  # fmt: skip
GOOD = ["a", "A1", "0", "2024-05-01", "x.y_z-1", "x" * 100, "a..b", "con"]


def test_there_are_forty_of_them() -> None:
    assert len(BAD) == 40


@pytest.mark.parametrize("name", BAD)
def test_names_that_could_lead_elsewhere_are_refused_and_nothing_is_made(base: Path, name: str) -> None:
    with (
        pytest.raises(InputError, match="is not allowed; use up to 100 letters") as refused,
        open_run(base, name, stage="test", identity={}),
    ):
        pass
    assert refused.value.exit_code == 2
    assert not base.exists()


@pytest.mark.parametrize("name", GOOD)
def test_plain_names_make_a_folder_of_that_name(base: Path, name: str) -> None:
    with open_run(base, name, stage="test", identity={}) as run:
        assert run.folder == base / name
        assert run.folder.is_dir()


def test_a_link_out_of_the_folder_of_runs_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    base.mkdir()
    (base / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of"), open_run(base, "link", stage="test", identity={}):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_folder_of_runs_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "big-disk")
    with open_run(tmp_path / "runs", "run", stage="test", identity={}):
        assert (tmp_path / "big-disk" / "run" / "journal.sqlite").exists()
