# pyright: standard
"""Rows of a Parquet file, a few at a time. pyarrow has no types, hence the milder check of this file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai.errors import InputError, Where
from cai.inputs.lines import RATIO_FREE, RATIO_LIMIT
from cai.inputs.messages import wanted_columns
from cai.inputs.row import Row

BATCH_ROWS = 64


def parquet_rows(path: Path, column: str) -> Iterator[Row | InputError]:
    """Rows with the columns worth reading. Raises `InputError` where the file is broken or unfolds like a bomb."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        refuse_unfolding(file.metadata, path)
        names, number = list(file.schema_arrow.names), 0
        wanted = wanted_columns(names, column) or names
        if doubled := next((name for name in wanted if names.count(name) > 1), ""):
            raise InputError(f"column `{doubled}` appears twice", "rename one", Where(path, key=doubled))
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
            for cells in batch.to_pylist():
                number += 1
                yield Row(Where(f"{path}[row {number}]"), f"{path.name}[{number}]", cells)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"unreadable Parquet: {first}", "fetch or write the file again", Where(path)) from error


def refuse_unfolding(metadata: Any, path: Path) -> None:
    """The footer's sizes tell how far a column unfolds before any of it is read."""
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for c in range(group.num_columns):
            chunk = group.column(c)
            unfolded = chunk.total_uncompressed_size
            if unfolded > RATIO_FREE and unfolded > RATIO_LIMIT * chunk.total_compressed_size:
                what = f"column `{chunk.path_in_schema}` unfolds to more than {RATIO_LIMIT} times its size"
                raise InputError(what, "if you trust the file, write it again without compression", Where(path))
