"""Parquet whose bytes depend on the rows alone: fixed settings, fixed row groups, no time and no chance in it."""

# pyright: standard
# (pyarrow has no types)
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 1000


def batches(rows: Iterable[Mapping[str, object]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Plain rows as batches of `schema`, a thousand at a time."""
    import pyarrow as pa

    rows = iter(rows)
    while part := list(islice(rows, ROWS_PER_GROUP)):
        yield pa.RecordBatch.from_pylist(part, schema=schema)


def write(file: BinaryIO, parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write all batches and return the number of rows. How the rows were cut into batches leaves no trace."""
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd", version="2.6", use_dictionary=True) as writer:
        for group in _regroup(parts, schema):
            writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            count += group.num_rows
    return count


def _regroup(parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `ROWS_PER_GROUP`, the last one shorter."""
    import pyarrow as pa

    waiting = pa.Table.from_batches([], schema=schema)
    for part in parts:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([part], schema=schema)])
        while waiting.num_rows >= ROWS_PER_GROUP:
            yield waiting.slice(0, ROWS_PER_GROUP).combine_chunks()
            waiting = waiting.slice(ROWS_PER_GROUP)
    if waiting.num_rows:
        yield waiting.combine_chunks()
