"""Exports depend on the rows alone, the manifest is true, and about.json is merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stage import IDENTITY, SCHEMA, in_child

from cai.store import Run, StoreError, batches, open_run
from cai.store.files import read_json


@pytest.fixture
def run(base: Path) -> Iterator[Run]:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        yield run


def rows(count: int) -> list[dict[str, object]]:
    return [{"item": at, "text": f"text {at}" * (at % 5)} for at in range(count)]


def cut(whole: list[dict[str, object]], sizes: list[int]) -> Iterator[pa.RecordBatch]:
    at = 0
    for size in [*sizes, len(whole)]:
        yield pa.RecordBatch.from_pylist(whole[at : at + size], schema=SCHEMA)
        at += size


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1500), max_size=4))
def test_how_rows_are_cut_into_batches_leaves_no_trace(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    base, whole = tmp_path_factory.mktemp("runs"), rows(2500)
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        assert run.write_export("a.parquet", batches(whole, SCHEMA), SCHEMA) == 2500
        assert run.write_export("b.parquet", cut(whole, sizes), SCHEMA) == 2500
        assert (run.folder / "a.parquet").read_bytes() == (run.folder / "b.parquet").read_bytes()
        assert pq.read_table(run.folder / "b.parquet").to_pylist() == whole


def test_another_process_writes_the_same_bytes(run: Run) -> None:
    run.write_export("a.parquet", batches(rows(10), SCHEMA), SCHEMA)
    assert in_child(lambda: run.write_export("b.parquet", batches(rows(10), SCHEMA), SCHEMA) and None).code == 0
    assert (run.folder / "a.parquet").read_bytes() == (run.folder / "b.parquet").read_bytes()


def test_no_rows_make_a_file_with_the_columns(run: Run) -> None:
    assert run.write_export("a.parquet", [], SCHEMA) == 0
    assert pq.read_table(run.folder / "a.parquet").schema.names == ["item", "text"]


def test_the_manifest_tells_size_and_hash_of_every_file_written(run: Run) -> None:
    run.write_export("a.parquet", batches(rows(10), SCHEMA), SCHEMA)
    run.write_text("card.md", "# Ä\n")
    run.write_about({"one": 1})
    manifest = read_json(run.folder / "manifest.json")
    assert set(manifest) == {"a.parquet", "card.md", "about.json"}
    for name, entry in manifest.items():
        data = (run.folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_about_keeps_what_other_stages_wrote(run: Run) -> None:
    run.write_about({"critique": {"calls": 1}, "versions": {"cai": "0"}})
    run.write_about({"label": {"calls": 2}, "versions": {"cai": "1"}})
    about = read_json(run.folder / "about.json")
    assert about == {"critique": {"calls": 1}, "label": {"calls": 2}, "versions": {"cai": "1"}}


def test_a_failure_while_writing_leaves_the_old_file(run: Run) -> None:
    run.write_export("a.parquet", batches(rows(5), SCHEMA), SCHEMA)
    old = (run.folder / "a.parquet").read_bytes()

    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches(rows(2000), SCHEMA)
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="a mistake"):
        run.write_export("a.parquet", broken(), SCHEMA)
    assert (run.folder / "a.parquet").read_bytes() == old
    assert not list(run.folder.glob(".*"))


@pytest.mark.parametrize(
    "name", ["../x.txt", "/tmp/x.txt", "a/../../b", "journal.sqlite", ".hidden", "manifest.json", ""]
)
def test_files_are_written_into_the_run_and_never_over_its_own(run: Run, name: str) -> None:
    with pytest.raises(AssertionError):
        run.write_text(name, "x")


def test_a_name_may_lead_into_a_folder_of_the_run(run: Run) -> None:
    run.write_text("model/card.md", "x")
    assert (run.folder / "model" / "card.md").read_text() == "x"
    assert set(read_json(run.folder / "manifest.json")) == {"model/card.md"}


def test_a_file_that_someone_broke_is_named(run: Run) -> None:
    (run.folder / "about.json").write_text("{")
    with pytest.raises(StoreError, match=r"about\.json: not JSON any more"):
        run.write_about({"one": 1})
