"""Of the rows of one key, the newest."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_PLACE = "etl_sync.place"


def newest(table: pa.Table, key: tuple[str, ...], order: Sequence[pa.Array]) -> pa.Table:
    """The newest row of each key, in the order of the keys; among equals the last."""
    import pyarrow as pa
    import pyarrow.compute as pc

    telling = {f"order {number}": array for number, array in enumerate(order)}
    places = pa.table(
        {**{f"key {name}": table.column(name) for name in key}, **telling, _PLACE: pa.array(range(table.num_rows))}
    )
    by: list[tuple[str, str]] = [(f"key {name}", "ascending") for name in key]
    by += [(name, "descending") for name in (*telling, _PLACE)]
    found = places.take(pc.sort_indices(places, sort_keys=by))
    if table.num_rows < 2:
        return table
    columns = [in_one(found.column(f"key {name}")) for name in key]
    differs = any_of([pc.not_equal(column[1:], column[:-1]) for column in columns])
    is_first = pa.concat_arrays([pa.array([True]), differs])
    return table.take(found.column(_PLACE).filter(is_first))


def by_value(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """A column by which rows can be put in order, for numbers that may travel as text."""
    import pyarrow as pa

    if not pa.types.is_string(column.type):
        return column
    numbers = [None if each is None else Decimal(each) for each in column.to_pylist()]
    known = {number for number in numbers if number is not None}
    rank = {number: place for place, number in enumerate(sorted(known, key=_value))}
    return pa.array([None if number is None else rank[number] for number in numbers], pa.int64())


def _value(number: Decimal) -> tuple[bool, Decimal]:
    """NaN stands above all other numbers, as it does in PostgreSQL."""
    return number.is_nan(), Decimal(0) if number.is_nan() else number


def any_of(conditions: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    """Where any of several conditions is met."""
    import pyarrow.compute as pc

    result = in_one(conditions[0])
    for condition in conditions[1:]:
        result = pc.or_(result, in_one(condition))
    return result


def in_one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    import pyarrow as pa

    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
