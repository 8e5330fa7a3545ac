"""Help texts as a person reads them, and that asking for help loads nothing heavy."""

from pathlib import Path

import pytest

from cai.cli.app import COMMANDS
from tests.cli.process import cai

GOLDEN = Path(__file__).parents[1] / "golden"
HELPS = {"help-cai.txt": (), "help-critique.txt": ("critique",), "help-demo.txt": ("demo",)}


@pytest.mark.parametrize("name", HELPS)
def test_help_is_what_the_golden_file_shows_and_loads_no_torch(tmp_path, name):
    ended = cai(*HELPS[name], "--help", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert not ended.imported_torch
    assert ended.out == (GOLDEN / name).read_text(), f"COLUMNS=100 cai {' '.join(HELPS[name])} --help > {GOLDEN / name}"


def test_every_command_is_listed(tmp_path):
    listed = cai("--help", cwd=tmp_path).out
    assert all(f"  {command} " in listed for command in COMMANDS)


@pytest.mark.parametrize("group", ["constitution", "runs"])
def test_no_command_of_a_group_is_described_in_half_a_sentence(tmp_path, group):
    assert "..." not in cai(group, "--help", cwd=tmp_path, COLUMNS="80").out.partition("Commands:")[2]


def test_an_unknown_command_is_wrong_input(tmp_path):
    ended = cai("critic", cwd=tmp_path)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert not ended.imported_torch
