"""Dates and timestamps for a transform, which is to find the same Arrow types in every piece.

PostgreSQL's infinity becomes the farthest value of the Arrow type, and that becomes infinity again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.postgres.types import (
    ENCODING,
    FIRST_DAY,
    FIRST_MICRO,
    encoding_of,
    postgres_integers,
    unix_integers,
)

if TYPE_CHECKING:
    import pyarrow as pa


def is_encoded(field: pa.Field) -> bool:
    """Whether a staged column holds PostgreSQL's own integers in place of dates or timestamps."""
    return ENCODING in (field.metadata or {})


def plain_times(batch: pa.RecordBatch) -> pa.Table:
    """A staged batch whose dates and timestamps all have their Arrow types.

    :raises DataError: where a timestamp lies so far ahead that Arrow has none for it
    """
    import pyarrow as pa

    arrays = [_plain(field, array) for field, array in zip(batch.schema, batch.columns, strict=True)]
    fields = [
        pa.field(field.name, array.type, metadata=field.metadata)
        for field, array in zip(batch.schema, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def encoded(name: str, array: pa.Array, *, is_encoded: bool) -> pa.Array:
    """Dates and timestamps as a column of the chunk holds them; others are what they are.

    :param is_encoded: whether the chunk has the column as integers, since it holds what ADBC does not carry
    :raises DataError: where it has it as it is, and a transform has made values that ADBC does not carry
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_time(array.type):
        return array
    integers, first, low, high = _bounds(array)
    if not is_encoded:
        bounds = pc.min_max(integers).as_py()
        if bounds["min"] is not None and (bounds["min"] < first or bounds["max"] >= high):
            raise DataError(f"The transform gives times for column {name!r} that lie too far off: make texts of them.")
        return array
    endless = pc.or_(pc.greater_equal(integers, high), pc.less_equal(integers, low))
    farthest = pc.if_else(pc.greater(integers, 0), high, low - 1)
    return pc.if_else(endless, farthest.cast(integers.type), postgres_integers(array))


def _plain(field: pa.Field, array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    base = encoding_of(field)
    if base is None:
        return array
    type_ = {"date": pa.date32(), "timestamp": pa.timestamp("us")}.get(base, pa.timestamp("us", "UTC"))
    moved = unix_integers(array)
    _, _, low, high = _bounds(moved.view(type_))
    endless = pc.or_(pc.equal(array, high), pc.equal(array, low - 1))
    is_too_far = pc.and_(pc.greater(array, 0), pc.or_(pc.less(moved, 0), pc.equal(moved, high)))
    if pc.any(pc.and_not(is_too_far, endless)).as_py():
        raise DataError(f"Column {field.name!r} holds a time that lies too far ahead for a transform.")
    return pc.if_else(endless, array, moved).view(type_)


def _bounds(array: pa.Array) -> tuple[pa.Array, int, int, int]:
    """A temporal array as integers; the first that PostgreSQL's calendar has; and those that stand for infinity.

    The lower is one above the lowest integer, since DuckDB takes that for it; the lowest itself is PostgreSQL's.
    """
    import pyarrow as pa

    is_date = pa.types.is_date32(array.type)
    integer, farthest = (pa.int32(), 2**31) if is_date else (pa.int64(), 2**63)
    return array.view(integer), FIRST_DAY if is_date else FIRST_MICRO, 1 - farthest, farthest - 1
