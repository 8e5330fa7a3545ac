"""Tables for the terminal: a header row, then rows; the first column left, the others right."""

from __future__ import annotations

from collections.abc import Sequence

from cai.cli.terminal import one_line


def table_lines(table: Sequence[Sequence[str]], width: int = 60) -> list[str]:
    """Aligned lines with a rule under the header; cells are made harmless and cut to `width`."""
    cells = [[one_line(cell, width) for cell in row] for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
