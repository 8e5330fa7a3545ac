"""The guide tells the truth: its files load, its commands print what it shows, its key tables are the schema's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cai.constitution import load_constitution, shipped_constitutions
from cai.constitution.schema import key_tables

GUIDE = (Path(__file__).parents[2] / "docs" / "constitutions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml|console)\n(.*?)^```$", GUIDE, re.M | re.S)
FILES = {text.splitlines()[0].removeprefix("# "): text for kind, text in BLOCKS if kind == "yaml"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's files, in which its commands run one after the other."""
    path = tmp_path_factory.mktemp("guide")
    for name, text in FILES.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def sessions() -> list[tuple[str, list[str]]]:
    """Each command of the guide with the lines it should print."""
    found: list[tuple[str, list[str]]] = []
    for kind, text in BLOCKS:
        for line in text.splitlines() if kind == "console" else ():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.mark.parametrize(("command", "expected"), sessions(), ids=lambda part: part if isinstance(part, str) else "")
def test_a_command_prints_what_the_guide_shows(command: str, expected: list[str], folder: Path) -> None:
    assert command.startswith("cai ")
    run = [sys.executable, "-c", "from cai.cli import main; main()", *command.split()[1:]]
    ran = subprocess.run(run, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    printed = [*ran.stdout.splitlines(), *ran.stderr.splitlines()]
    if "…" in expected:
        expected = expected[: expected.index("…")]
        printed = printed[: len(expected)]
    assert printed == expected


@pytest.mark.parametrize("name", [name for name in FILES if name != "wrong.yaml"])
def test_a_file_of_the_guide_loads(name: str, folder: Path) -> None:
    assert load_constitution(folder / name).name == name.removesuffix(".yaml")


def test_the_key_tables_are_the_schemas() -> None:
    assert GUIDE.partition("a test compares -->")[2].strip() == key_tables()


def test_every_shipped_constitution_is_in_the_guide() -> None:
    assert all(f"| `{name}` |" in GUIDE for name in shipped_constitutions())
