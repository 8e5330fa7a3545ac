"""`cai runs`: what it lists, shows and removes, and what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cai.cli.runs import app
from cai.errors import BusyError, EngineDown, InputError, RecordFault
from cai.records import Record, Usage
from cai.store import open_run, run_stage


class Reply(Record):
    text: str
    usage: Usage


async def work(item: int) -> Reply:
    if item % 10 == 3:
        raise RecordFault(f"item {item} has \x1b[31m7 tokens too many")
    if item == 60:
        raise EngineDown("server gone")
    return Reply(text="x", usage=Usage(calls=5, prompt_tokens=1000, completion_tokens=100))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "runs"
    for name, items in (("alpha", 20), ("beta", 100)):
        with open_run(base, name, stage="critique", identity={"model": "m", "settings": {"rounds": 2}}) as run:
            try:
                asyncio.run(run_stage(run, "critique", range(items), work, key=str, concurrency=1))
            except EngineDown:
                assert name == "beta"
            run.write_text("card.md", "x" * 100)
    (base / "notes").mkdir()
    (base / "recipe.yaml").write_text("critique:\n")
    return base


def cai_runs(base: Path, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--in", str(base)], input=typed)


def test_list_tells_state_counts_tokens_time_and_size(base: Path) -> None:
    (base / "odd").mkdir()
    (base / "odd" / "journal.sqlite").write_bytes(b"no journal " * 100)
    lines = [line.split() for line in cai_runs(base, "list").stdout.splitlines()]
    assert lines[0] == ["run", "stage", "state", "ok", "quarantined", "calls", "tokens", "time", "size"]
    assert lines[1][:7] == ["alpha", "critique", "complete", "18", "2", "90", "19,800"]
    assert lines[2][:9] == ["beta", "critique", "resumable,", "100", "in", "all", "54", "6", "270"]
    assert lines[3][:3] == ["odd", "-", "unreadable:"]
    assert len(lines) == 4


def test_list_of_nothing_says_so(tmp_path: Path) -> None:
    assert cai_runs(tmp_path / "none", "list").stdout == f"no runs in {tmp_path / 'none'}\n"


def test_show_tells_identity_reasons_and_files_without_control_characters(base: Path) -> None:
    shown = cai_runs(base, "show", "beta").stdout
    assert '  settings: {"rounds": 2}' in shown
    assert "  6 quarantined, RecordFault: item 3 has [31m7 tokens too many" in shown
    assert "\x1b" not in shown
    assert "  card.md           100 B" in shown


def test_a_held_run_is_shown_as_running_with_its_holder_and_not_removed(base: Path) -> None:
    with open_run(base, "alpha", stage="critique", identity={"model": "m", "settings": {"rounds": 2}}):
        assert "running" in cai_runs(base, "list").stdout.splitlines()[1]
        assert "held by process" in cai_runs(base, "show", "alpha").stdout
        refused = cai_runs(base, "rm", "alpha", "--yes")
        assert isinstance(refused.exception, BusyError)
    assert (base / "alpha" / "card.md").exists()


def test_retry_forgets_what_was_quarantined_and_the_next_pass_tries_it(base: Path) -> None:
    assert cai_runs(base, "retry", "alpha").stdout.startswith("2 records are to be tried again")
    assert cai_runs(base, "retry", "alpha").stdout == "none\n"
    asked = list[int]()

    async def again(item: int) -> Reply:
        asked.append(item)
        return Reply(text="x", usage=Usage())

    with open_run(base, "alpha", stage="critique", identity={"model": "m", "settings": {"rounds": 2}}) as run:
        asyncio.run(run_stage(run, "critique", range(20), again, key=str, concurrency=1))
        assert run.states("critique") == {"ok": 20}
    assert asked == [3, 13]


def test_rm_removes_the_runs_named_and_nothing_else(base: Path) -> None:
    removed = cai_runs(base, "rm", "alpha", "beta", "--yes")
    assert removed.exit_code == 0
    assert removed.stdout.startswith(f"removed {base / 'alpha'} (")
    assert sorted(path.name for path in base.iterdir()) == ["notes", "recipe.yaml"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("gamma", "no such run"),
        ("notes", "no such run"),
        ("recipe.yaml", "no such run"),
        ("../runs/alpha", "is not allowed"),
        (".", "is not allowed"),
    ],
)
def test_rm_removes_nothing_where_one_name_is_not_a_run(base: Path, name: str, what: str) -> None:
    refused = cai_runs(base, "rm", "alpha", name, "--yes")
    assert isinstance(refused.exception, InputError)
    assert what in str(refused.exception)
    assert (base / "alpha").exists()


def test_rm_without_a_terminal_wants_yes(base: Path) -> None:
    refused = cai_runs(base, "rm", "alpha", typed="y\n")
    assert "add --yes" in str(refused.exception)
    assert (base / "alpha").exists()


def test_a_comparison_is_listed_shown_and_removed_like_a_run(base: Path) -> None:
    folder = base / "compare"
    folder.mkdir()
    for name in ("report.html", "report.md", "report.json"):
        (folder / name).write_text("{}")
    listed = next(line for line in cai_runs(base, "list").output.splitlines() if line.startswith("compare"))
    assert listed.split()[:3] == ["compare", "compare", "report"]
    assert "report.html" in cai_runs(base, "show", "compare").output
    assert cai_runs(base, "rm", "compare", "--yes").exit_code == 0
    assert not folder.exists()
    assert cai_runs(base, "list").exit_code == 0
