"""Arrow arrays as they come → the few Arrow types that are staged as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.records.kinds import Kind

if TYPE_CHECKING:
    import pyarrow as pa


class Staged(NamedTuple):
    """An array that can be staged as it is.

    :param type: PostgreSQL's type for it
    """

    kind: Kind
    array: pa.Array
    type: str


def staged(column: str, array: pa.Array) -> Staged | None:
    """The array as one that can be staged; None where its values must be looked at one by one.

    :raises DataError: where a value of it is finer or farther than PostgreSQL's types hold
    """
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        is_uuid = array.type.extension_name == "arrow.uuid"
        return Staged("uuid", array.storage, "uuid") if is_uuid else staged(column, array.storage)
    if pa.types.is_dictionary(array.type):
        return staged(column, decoded(array))
    wanted = _wanted(array.type)
    if wanted is None:
        return None
    kind, arrow_type, name = wanted
    try:
        cast = array.cast(arrow_type)
    except pa.ArrowInvalid:
        raise DataError(
            f"Column {column!r} holds values that PostgreSQL's {name} cannot, such as times finer than a microsecond: "
            "round or convert them in the function."
        ) from None
    if _is_too_far(cast):
        raise DataError(f"Column {column!r} holds times outside of the years 1 to 9999: convert them in the function.")
    return Staged(kind, cast, name)


def decoded(array: pa.DictionaryArray) -> pa.Array:
    """Values that a dictionary stands for, as they are without it."""
    import pyarrow as pa

    if pa.types.is_string_view(array.type.value_type):  # as polars' categories are; Arrow cannot decode these
        array = pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.large_string()))
    return array.dictionary_decode()


def _wanted(given: pa.DataType) -> tuple[Kind, pa.DataType, str] | None:
    import pyarrow as pa

    numbers: dict[pa.DataType, tuple[Kind, pa.DataType, str]] = {
        pa.bool_(): ("boolean", pa.bool_(), "boolean"),
        **dict.fromkeys((pa.int8(), pa.uint8(), pa.int16()), ("integer", pa.int16(), "smallint")),
        **dict.fromkeys((pa.uint16(), pa.int32()), ("integer", pa.int32(), "integer")),
        **dict.fromkeys((pa.uint32(), pa.int64()), ("integer", pa.int64(), "bigint")),
        **dict.fromkeys((pa.float16(), pa.float32()), ("float", pa.float32(), "real")),
        pa.float64(): ("float", pa.float64(), "double precision"),
    }
    if given in numbers:
        return numbers[given]
    return _wanted_other(given)


def _wanted_other(given: pa.DataType) -> tuple[Kind, pa.DataType, str] | None:
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(given):
        kind: Kind = "timestamp" if given.tz is None else "timestamptz"
        zone, name = (None, "timestamp without time zone") if given.tz is None else ("UTC", "timestamp with time zone")
        return kind, pa.timestamp("us", zone), name
    tests = (
        (types.is_string, "text", pa.string(), "text"),
        (types.is_large_string, "text", pa.large_string(), "text"),
        (types.is_string_view, "text", pa.large_string(), "text"),
        (types.is_binary, "bytes", pa.binary(), "bytea"),
        (types.is_large_binary, "bytes", pa.large_binary(), "bytea"),
        (types.is_binary_view, "bytes", pa.large_binary(), "bytea"),
        (types.is_fixed_size_binary, "bytes", pa.binary(), "bytea"),
        (types.is_date, "date", pa.date32(), "date"),
        (types.is_time, "time", pa.time64("us"), "time without time zone"),
    )
    return next(((kind, arrow_type, name) for test, kind, arrow_type, name in tests if test(given)), None)  # type: ignore[return-value]


def _is_too_far(array: pa.Array) -> bool:
    """Whether it holds a date that lies before PostgreSQL's calendar, or so far that its counting wraps around."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_timestamp(array.type) or pa.types.is_date32(array.type)):
        return False
    unit, integer = (1, pa.int32()) if pa.types.is_date32(array.type) else (86_400_000_000, pa.int64())
    bounds = pc.min_max(array.view(integer)).as_py()
    if bounds["min"] is None:
        return False
    return bool(bounds["min"] < _FIRST_DAY * unit or bounds["max"] >= _LAST_DAY * unit)


_FIRST_DAY, _LAST_DAY = -719_162, 2_932_897
"""The days of the years 1 to 9999, from 1970 on: those that Python can write."""
