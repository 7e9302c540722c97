"""Parquet → columns in the types that are staged, of exact values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.errors import DataError, SchemaError
from airflow_etl_sync.systems.files.pieces import refuse_missing
from airflow_etl_sync.systems.records.arrays import staged
from airflow_etl_sync.systems.records.kinds import plain, text_of

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16_384
_BUFFER_BYTES = 1024 * 1024
"""So much of a column is fetched at once, however large its row group is."""


class ParquetRows(NamedTuple):
    """Rows of a file.

    :param types: PostgreSQL's type of each column
    :param first: the number of the first row, from 1
    :param rows_of_file: how many rows the whole file has
    """

    columns: dict[str, pa.Array]
    types: dict[str, str]
    first: int
    rows_of_file: int

    @property
    def numbers(self) -> range:
        """The number of each row in its file."""
        return range(self.first, self.first + len(next(iter(self.columns.values()), ())))


def read_parquet(file: Any, columns: Sequence[str], after: int) -> Iterator[ParquetRows]:
    """The rows of a file, a batch at a time; at first one without rows, which tells the columns.

    :param columns: those to read; empty reads all
    :param after: so many rows are passed over
    :raises SchemaError: where it lacks a column
    :raises DataError: where it is no Parquet, or damaged
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        names = parquet.schema_arrow.names
        wanted = [*(columns or names)]
        refuse_missing(wanted, names)
        empty = pa.RecordBatch.from_pylist([], schema=parquet.schema_arrow)
        count = parquet.metadata.num_rows
        yield _rows(empty, wanted, 1, count)
        first = 1
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if first + rows - 1 > after:
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                    yield _rows(batch, wanted, first, count)
                    first += batch.num_rows
            else:
                first += rows
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError("it is no Parquet, or damaged") from None


def _rows(batch: pa.RecordBatch, names: Sequence[str], first: int, count: int) -> ParquetRows:
    found = {name: _column(name, batch.column(name)) for name in names}
    columns = {name: array for name, (array, _) in found.items()}
    return ParquetRows(columns, {name: type_ for name, (_, type_) in found.items()}, first, count)


def _column(name: str, given: pa.Array) -> tuple[pa.Array, str]:
    """A column as it is staged, and PostgreSQL's type for it; what Arrow has no plain type for goes as text."""
    import pyarrow as pa

    try:
        natural = staged(name, given)
    except DataError:
        raise DataError(
            f"column {name!r} holds values that PostgreSQL's types do not, such as times finer than a microsecond"
        ) from None
    if natural is not None:
        _refuse_nul(name, natural.array)
        return natural.array, natural.type
    type_ = _type_of(name, given.type)
    if pa.types.is_decimal(given.type) or pa.types.is_uint64(given.type):
        return given.cast(pa.string()), type_
    values = [plain(name, value) for value in given.to_pylist()]
    return pa.array([None if value is None else text_of(name, value) for value in values], pa.string()), type_


def _refuse_nul(name: str, array: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if is_text and pc.any(pc.match_substring(array, "\0")).as_py():
        raise DataError(f"column {name!r} holds the character NUL, which no text of a database holds")


def _type_of(name: str, given: pa.DataType) -> str:
    import pyarrow as pa

    types = pa.types
    if types.is_decimal(given):
        return f"numeric({given.precision},{given.scale})" if given.scale >= 0 else "numeric"
    if types.is_nested(given):
        return "jsonb"
    known = ((types.is_uint64, "numeric(20,0)"), (types.is_duration, "interval"), (types.is_null, "text"))
    found = next((type_ for test, type_ in known if test(given)), None)
    if found is None:
        raise SchemaError(f"has a column {name!r} of type {given}, for which there is no rule: leave it out (columns)")
    return found
