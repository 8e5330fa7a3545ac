"""Rows of a prompt file, whatever its format: a mapping from column to cell, and the place it came from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

from cai.errors import InputError, Where
from cai.inputs.lines import LINE_LIMIT, read_lines
from cai.inputs.messages import find_column
from cai.inputs.parquet import parquet_rows
from cai.inputs.row import Row

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
"""File endings with a reader; all but Parquet may be followed by `.gz`."""
TEXT_COLUMN = "text"
_SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons"}


def format_of(path: Path) -> str:
    """The reader's ending, `.gz` aside; "" where there is none."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    return plain.suffix.lower() if plain.suffix.lower() in FORMATS else ""


def file_rows(path: Path, column: str = "") -> Iterator[Row | InputError]:
    """Rows of one file, an `InputError` in place of each unreadable one. Raises it where no row can be read at all."""
    match format_of(path):
        case ".csv":
            return _table_rows(path, ",", column)
        case ".tsv":
            return _table_rows(path, "\t", column)
        case ".parquet":
            return parquet_rows(path, column)
        case ".txt":
            return _text_rows(path)
        case "":
            known = ", ".join(FORMATS)
            raise InputError("cannot tell the format by the file's ending", f"known: {known}", Where(path))
        case _:
            return _json_rows(path)


def _text_rows(path: Path) -> Iterator[Row | InputError]:
    for number, line in read_lines(path):
        if isinstance(line, InputError):
            yield line
        elif line.strip():
            yield Row(Where(path, number), f"{path.name}:{number}", {TEXT_COLUMN: line.strip()})


def _json_rows(path: Path) -> Iterator[Row | InputError]:
    for number, line in read_lines(path):
        if isinstance(line, InputError):
            yield line
        elif line.strip():
            if number == 1 and path.suffix == ".json" and line.lstrip().startswith("["):
                remedy = f"write one row a line: jq -c '.[]' {path.name} > {path.stem}.jsonl"
                raise InputError("the file is one JSON array", remedy, Where(path, 1))
            yield _json_row(line, Where(path, number), f"{path.name}:{number}")


def _json_row(line: str, where: Where, source: str) -> Row | InputError:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return InputError(f"not JSON: {error.msg}", "mend or drop it", Where(where.file, where.line, error.colno))
    except (RecursionError, ValueError) as error:
        return InputError(f"JSON nobody should read: {error}", "mend or drop it", where)
    if not isinstance(value, dict):
        return InputError(f"a row is an object, not {_json_kind(value)}", 'write it as {"prompt": "…"}', where)
    return Row(where, source, cast("dict[str, object]", value))


def _json_kind(value: object) -> str:
    kinds: dict[type, str] = {list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


def _table_rows(path: Path, delimiter: str, column: str) -> Iterator[Row | InputError]:
    csv.field_size_limit(LINE_LIMIT)
    lines = _Decodable(read_lines(path))
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(table, path)
    if lines.problem:
        raise lines.problem
    _check_header(header, delimiter, column, path)
    while True:
        number = table.line_num + 1
        where = Where(path, number)
        try:
            cells = next(table, None)
        except csv.Error as error:
            if "field larger" in str(error):  # the rest of the cell would be read as rows
                what = f"a cell longer than {LINE_LIMIT:,} bytes; where it ends cannot be told"
                raise InputError(what, "close its quote, or drop it", where) from error
            yield InputError(f"not a CSV row: {error}", "quote cells that hold quotes or line breaks", where)
            continue
        if lines.problem:
            yield lines.take_problem()
            continue
        if cells is None:
            return
        if cells and len(cells) != len(header):
            what = f"{len(cells)} cells under {len(header)} columns"
            yield InputError(what, "quote cells that hold the delimiter", where)
        elif cells:
            yield Row(where, f"{path.name}:{number}", dict(zip(header, cells, strict=True)))


def _header(table: Iterator[list[str]], path: Path) -> list[str]:
    try:
        return [name.strip() for name in next(table, list[str]())]
    except csv.Error as error:
        raise InputError(f"not a CSV header: {error}", "name the columns in the first row", Where(path, 1)) from error


def _check_header(header: list[str], delimiter: str, column: str, path: Path) -> None:
    """Raise where two columns have one name, or where all of them are one since the delimiter is another."""
    doubled = sorted({name for name in header if header.count(name) > 1 and name})
    if doubled:
        raise InputError(f"column `{doubled[0]}` appears twice", "rename one", Where(path, 1, key=doubled[0]))
    sign = next((sign for sign in _SIGNS if len(header) == 1 and sign in header[0]), "")
    if sign and find_column(header, column) is None:
        what = f"the columns of `{header[0]}` stand between {_SIGNS[sign]}, not between {_SIGNS[delimiter]}"
        raise InputError(what, "write it again, or rename it: .csv has commas, .tsv has tabs", Where(path, 1))


class _Decodable:
    """Lines for the csv module, which cannot carry errors: an undecodable line becomes empty, its error is kept."""

    def __init__(self, lines: Iterator[tuple[int, str | InputError]]) -> None:
        self.lines = lines
        self.problem: InputError | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        _, line = next(self.lines)
        if isinstance(line, InputError):
            self.problem = line
            return "\n"
        return line

    def take_problem(self) -> InputError:
        problem, self.problem = self.problem, None
        assert problem is not None
        return problem


def numbered_rows(rows: Iterable[Mapping[str, object]], name: str) -> Iterator[Row | InputError]:
    """Rows of a dataset in memory or mapped from disk, named `name[index]`, counted from 0 as `datasets` does."""
    for index, cells in enumerate(rows):
        yield Row(Where(f"{name}[{index}]"), f"{name}[{index}]", cells)
