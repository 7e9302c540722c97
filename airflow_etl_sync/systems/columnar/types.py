"""Which Arrow type a column of a stream gets, and which of them holds every value of another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import is_inferred, types_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DIGITS = 38
"""Of a decimal, in Parquet as the lakes write it, in Delta and in DuckDB."""

_NUMERIC = re.compile(r"numeric\((\d+)(?:,\s*(\d+))?\)")
_INTEGER_DIGITS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
_EXACT_IN_A_FLOAT = {"float": ("int8", "int16"), "double": ("int8", "int16", "int32", "float")}


def arrow_type(declared: str) -> pa.DataType | None:
    """The type that holds a PostgreSQL type's values as what they are; None where only their text can be held.

    :param declared: as ``format_type`` writes it
    """
    import pyarrow as pa

    numeric = _NUMERIC.fullmatch(declared)
    if numeric is not None:
        digits, scale = int(numeric[1]), int(numeric[2] or 0)
        return pa.decimal128(digits, scale) if scale <= digits <= MOST_DIGITS else None
    plain = re.sub(r"\s*\([\d, ]*\)", "", declared)
    return {
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "timestamp without time zone": pa.timestamp("us"),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
    }.get(plain)


def landing_type(field: pa.Field) -> pa.DataType:
    """The type that a new column gets for a field of a stream; text, which is exact, where no other is."""
    import pyarrow as pa

    types = types_of(field)
    told = types[:1] if is_inferred(field) else types
    return next((found for each in told if (found := arrow_type(each)) is not None), pa.string())


def holds(into: pa.DataType, held: pa.DataType) -> bool:
    """Whether a column of one type takes every value of another and gives it back the same."""
    import pyarrow as pa

    if into == held or pa.types.is_string(into):
        return True
    if pa.types.is_integer(held) and pa.types.is_integer(into):
        return bool(into.bit_width >= held.bit_width)
    if pa.types.is_decimal(into):
        return _decimal_holds(into, held)
    if pa.types.is_floating(into):
        return str(held) in _EXACT_IN_A_FLOAT[str(into)]
    return bool(into == pa.timestamp("us") and pa.types.is_date32(held))


def _decimal_holds(into: pa.DataType, held: pa.DataType) -> bool:
    import pyarrow as pa

    room = into.precision - into.scale
    if pa.types.is_integer(held):
        return bool(room >= _INTEGER_DIGITS[str(held)])
    if not pa.types.is_decimal(held):
        return False
    return bool(into.scale >= held.scale and room >= held.precision - held.scale)


def may_land(held: pa.DataType, into: pa.DataType) -> bool:
    """Whether some value of one type can be the same in another."""
    import pyarrow as pa

    if pa.types.is_string(held) or holds(into, held):
        return True
    if _is_number(held) and _is_number(into):
        return True
    return bool(held == pa.timestamp("us") and pa.types.is_date32(into))


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def type_name(kind: pa.DataType) -> str:
    """The type of PostgreSQL that is most like a column's, without length or precision; empty for one of texts.

    Such a column may hold values of any type, which only they themselves tell.
    """
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return "numeric"
    names = ["smallint", "integer", "bigint", "real", "double precision", "boolean", "bytea", "date"]
    names += ["timestamp without time zone", "timestamp with time zone"]
    return next((name for name in names if arrow_type(name) == kind), "")
