"""Rows as the driver gives them → record batches of a few megabytes, whatever the rows weigh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.database.dialect import Dialect

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Select

_BATCH_BYTES = 4 * 1024 * 1024
_FIRST_ROWS, _MOST_ROWS = 50, 10_000
_FASTEST_GROWTH = 8


def batches_of(
    connection: Connection, dialect: Dialect, statement: Select[Any], columns: Sequence[DatabaseColumn]
) -> Iterator[pa.RecordBatch]:
    """The result of a statement, from a cursor that the server keeps: no more than a batch is held here."""
    result = connection.execution_options(stream_results=True, max_row_buffer=_FIRST_ROWS).execute(statement)
    rows, is_read = _FIRST_ROWS, False
    try:
        while fetched := result.fetchmany(rows):
            batch = _batch(fetched, columns)
            yield batch
            rows = _next_rows(rows, batch.nbytes)
        is_read = True
    finally:
        if not is_read:
            dialect.abandon(result)


def _batch(rows: Sequence[Any], columns: Sequence[DatabaseColumn]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [column.array(values) for column, values in zip(columns, zip(*rows, strict=True), strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([column.field() for column in columns]))


def _next_rows(rows: int, weight: int) -> int:
    """How many rows of this weight make a batch; heavier ones may follow, so their number grows step by step."""
    wanted = rows * _BATCH_BYTES // max(weight, 1)
    return max(1, min(wanted, rows * _FASTEST_GROWTH, _MOST_ROWS))
