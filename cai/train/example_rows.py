"""Rows of a training file, Parquet or JSONL, as they stand in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai.errors import InputError, Where
from cai.inputs.lines import read_lines
from cai.inputs.parquet import refuse_unfolding

JSON_LINES = (".jsonl", ".ndjson")


def example_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row with its number, or what is wrong with it."""
    if not path.is_file():
        raise InputError(f"there is no file {path}", "give one with `train.data=[FILE]`, or run the stage before first")
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
    elif ending in JSON_LINES:
        yield from _json_rows(path)
    else:
        what = f"files ending in {path.suffix or 'nothing'} are not read"
        raise InputError(what, "use .parquet, .jsonl or .jsonl.gz", Where(path))


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        file = pq.ParquetFile(path)
        refuse_unfolding(file.metadata, path)
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"this Parquet file cannot be read: {first}", "write it again", Where(path)) from error


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in read_lines(path):
        if isinstance(line, InputError):
            yield number, f"{line.what}; {line.remedy}"
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"this line is not JSON: {error}"
            else:
                yield number, row if isinstance(row, dict) else "this line is not a JSON object"
