"""Staged columns as the columns of a table: each value the same as before, or told to be one that does not fit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.columnar.types import may_land
from airflow_etl_sync.systems.postgres.types import ENCODING, encoding_of, position_text

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = {"date": 10_957, "timestamp": 10_957 * 86_400_000_000, "timestamptz": 10_957 * 86_400_000_000}
_FARTHEST = {"date": 2**31, "timestamp": 2**63, "timestamptz": 2**63}


def landed(column: pa.ChunkedArray, field: pa.Field, into: pa.DataType) -> pa.Array:
    """A staged column in another type; NULL where a value cannot be the same there.

    :param field: what is noted on the staged column
    :param into: one of the types that :func:`~airflow_etl_sync.systems.columnar.types.arrow_type` gives, or text
    """
    import pyarrow as pa

    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_string(into):
        return _texts(array, field)
    if array.type == into and encoding_of(field) is None:
        return array
    array = _decoded(array, field)
    if not may_land(array.type, into):
        return pa.nulls(len(array), into)
    if pa.types.is_string(array.type):
        return _parsed(array, into)
    there = _cast(array, into)
    return _same(array, there, _cast(there, array.type))


def texts_of(column: pa.ChunkedArray, field: pa.Field) -> list[str | None]:
    """A staged column as text that :func:`landed` reads back as the same values."""
    return [text(value, field) for value in column]


def text(value: pa.Scalar, field: pa.Field) -> str | None:
    """One staged value as text, as PostgreSQL writes it.

    :raises DataError: for a time in a year that cannot be written
    """
    import pyarrow as pa

    if _is_written_whole(value.type):
        return _texts(pa.array([value.as_py()], value.type), field)[0].as_py()  # type: ignore[no-any-return]
    written = position_text(value, (field.metadata or {}).get(ENCODING))
    if written is None and value.is_valid:
        raise DataError(
            f"Column {field.name!r} holds a time before the year 1 or after 9999 in a row that cannot be loaded, and "
            "it cannot be set aside as text: leave such rows out with where."
        )
    return written


def _is_written_whole(kind: pa.DataType) -> bool:
    """Whether a column of it becomes text at once, and not value by value."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_time)
    return any(test(kind) for test in tests)


def _texts(array: pa.Array, field: pa.Field) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _is_written_whole(array.type):
        return pa.array([text(value, field) for value in array], pa.string())
    texts = array.cast(pa.string())
    if pa.types.is_time(array.type):
        whole = pc.replace_substring_regex(texts, r"(\.\d*?)0+$", r"\1")
        return pc.replace_substring_regex(whole, r"\.$", "")
    return _spelled(texts, field)


def _spelled(array: pa.Array, field: pa.Field) -> pa.Array:
    """Numbers that are none, as PostgreSQL writes them and not as its driver does."""
    import pyarrow.compute as pc

    if not types_of(field).base.startswith("numeric"):
        return array
    for written, meant in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        array = pc.if_else(pc.equal(array, written), meant, array)
    return array


def _decoded(array: pa.Array, field: pa.Field) -> pa.Array:
    """What PostgreSQL's own integers stand for; NULL for infinity, which no lake knows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    base = encoding_of(field)
    if base is None:
        return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array
    farthest, integer = _FARTHEST[base], pa.int32() if base == "date" else pa.int64()
    room = farthest - 1 - _EPOCH[base]
    is_finite = pc.and_(
        pc.greater(array, pa.scalar(-farthest, integer)), pc.less_equal(array, pa.scalar(room, integer))
    )
    finite = pc.if_else(is_finite, array, pa.scalar(None, integer))
    counted = pc.add(finite, pa.scalar(_EPOCH[base], integer))
    kinds = {"date": pa.date32(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC")}
    return counted.view(kinds[base])


def _parsed(array: pa.Array, into: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_binary(into):
        return pa.array([_bytes(value) for value in array.to_pylist()], into)
    if pa.types.is_floating(into):
        there = _cast(array, into)
        pairs = zip(array.to_pylist(), there.to_pylist(), strict=True)
        return pa.array([number if _is_same(written, number, into) else None for written, number in pairs], into)
    return _cast(array, into)


def _bytes(written: str | None) -> bytes | None:
    try:
        return None if written is None else bytes.fromhex(written.removeprefix("\\x"))
    except ValueError:
        return None


def _is_same(written: str | None, number: float | None, into: pa.DataType) -> bool:
    """Whether a number's shortest text is the number that was written."""
    if written is None or number is None:
        return True
    try:
        exact = Decimal(written.strip())
    except InvalidOperation:
        return False
    shortest = Decimal(_shortest(number, into))
    return exact.is_nan() == shortest.is_nan() and (exact.is_nan() or exact == shortest)


def _shortest(number: float, into: pa.DataType) -> str:
    import pyarrow as pa

    return str(pa.scalar(number, into).cast(pa.string()).as_py())


def _cast(array: pa.Array, into: pa.DataType) -> pa.Array:
    """Cast what can be cast; where a value cannot, halve until it stands alone, and leave it NULL."""
    import pyarrow as pa

    try:
        return _plain_cast(array, into)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(array) <= 1:
            return pa.nulls(len(array), into)
    half = len(array) // 2
    return pa.concat_arrays([_cast(array[:half], into), _cast(array[half:], into)])


def _plain_cast(array: pa.Array, into: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_integer(array.type) and pa.types.is_decimal(into):  # which asks for room for any integer
        return array.cast(pa.string()).cast(into)
    return array.cast(into)


def _same(before: pa.Array, there: pa.Array, back: pa.Array) -> pa.Array:
    """NULL where a value did not come back as it was; what is the same in bits, NaN too, did."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_same = pc.equal(before, back)
    if pa.types.is_floating(before.type):
        is_same = pc.or_(is_same, pc.and_(pc.is_nan(before), pc.is_nan(back)))
    return pc.if_else(is_same, there, pa.scalar(None, there.type))
