"""Rows of an evaluation file: every required column there and of its kind, or an error with file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cai.errors import InputError, InputErrors, Where
from cai.inputs.row import Row
from cai.inputs.rows import file_rows

MOST_TOLD = 20


def rows(path: Path, columns: Mapping[str, type]) -> list[Row]:
    """Every row, checked. Raises InputErrors naming each malformed one (the first twenty), with file and line."""
    if not path.is_file():
        raise InputError("no such file", "get the data set, or point --data at the folder that holds it", Where(path))
    found, problems = list[Row](), list[InputError]()
    for row in file_rows(path):
        problem = row if isinstance(row, InputError) else _problem(row, columns)
        if problem is not None:
            problems.append(problem)
        elif isinstance(row, Row):
            found.append(row)
        if len(problems) >= MOST_TOLD:
            break
    if problems:
        raise InputErrors(problems)
    if not found:
        raise InputError("no row in the file", "get the data set again", Where(path))
    return found


def _problem(row: Row, columns: Mapping[str, type]) -> InputError | None:
    for name, kind in columns.items():
        if name not in row.cells:
            there = ", ".join(f"`{key}`" for key in row.cells)
            return InputError(f"no column `{name}`", f"there are {there}", _at(row, name))
        value = row.cells[name]
        if isinstance(value, bool) or not isinstance(value, kind):
            return InputError(f"`{name}` is not {_said(kind)}", "mend the row", _at(row, name))
        if isinstance(value, str) and not value.strip():
            return InputError(f"`{name}` is empty", "fill or drop the row", _at(row, name))
    return None


def _at(row: Row, key: str) -> Where:
    return Where(row.where.file, row.where.line, row.where.column, key)


def _said(kind: type) -> str:
    return {str: "text", int: "a whole number", list: "a list", dict: "an object"}.get(kind, kind.__name__)


def text(row: Row, column: str) -> str:
    """A checked text cell."""
    value = row.cells[column]
    assert isinstance(value, str), column
    return value.strip()


def bad(row: Row, column: str, what: str, remedy: str = "mend the row") -> InputError:
    """An error about one cell."""
    return InputError(what, remedy, _at(row, column))


def each(rows: list[Row]) -> Iterator[tuple[Row, str]]:
    """Rows with their provenance."""
    return ((row, row.source) for row in rows)
