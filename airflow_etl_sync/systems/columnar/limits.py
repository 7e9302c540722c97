"""Values that an Arrow type holds and a column of a warehouse does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_etl_sync.systems.columnar.table import TableColumn


def misfits(column: TableColumn, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """Why some values cannot be loaded, and which: what is too long would be cut, what is too early be another day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.longest is not None:
        measure = pc.binary_length if pa.types.is_binary(values.type) else pc.utf8_length
        yield (
            f"longer than {column.declared}",
            pc.fill_null(pc.greater(measure(values), column.longest), fill_value=False),
        )
    if pa.types.is_temporal(values.type):
        first, last = (pa.scalar(bound, values.type) for bound in _bounds(values.type))
        is_outside = pc.or_(pc.less(values, first), pc.greater(values, last))
        yield "before the year 1 or after 9999", pc.fill_null(is_outside, fill_value=False)


def _bounds(kind: pa.DataType) -> tuple[Any, Any]:
    import pyarrow as pa

    if pa.types.is_date(kind):
        return date.min, date.max
    zone = timezone.utc if kind.tz else None
    return datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)
