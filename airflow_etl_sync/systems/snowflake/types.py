"""Snowflake's types, and the Arrow types whose values they hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_etl_sync.systems.columnar.table import Warehouse
from airflow_etl_sync.systems.columnar.types import MOST_DIGITS
from airflow_etl_sync.systems.snowflake.names import folded, unfolded

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"NUMBER\((\d+),\s*(\d+)\)")
_SIZED = re.compile(r"(VARCHAR|BINARY)\((\d+)\)")
_MOMENT = re.compile(r"(TIME|TIMESTAMP_NTZ|TIMESTAMP_LTZ|TIMESTAMP_TZ)\((\d+)\)")
_MICROSECONDS = 6


def arrow_type_of(declared: str) -> pa.DataType | None:
    """The Arrow type in which values go into a column; None for columns that would not hold values as they are."""
    import pyarrow as pa

    number, moment = _NUMBER.fullmatch(declared), _MOMENT.fullmatch(declared)
    if number is not None:
        return pa.decimal128(int(number[1]), int(number[2]))
    if moment is not None and int(moment[2]) < _MICROSECONDS:
        return None
    kinds = {
        "VARCHAR": pa.string(),
        "FLOAT": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "BINARY": pa.binary(),
        "DATE": pa.date32(),
        "TIME": pa.string(),
        "TIMESTAMP_NTZ": pa.timestamp("us"),
        "TIMESTAMP_LTZ": pa.timestamp("us", "UTC"),
        "TIMESTAMP_TZ": pa.timestamp("us", "UTC"),
    }
    is_plain = moment is not None or _SIZED.fullmatch(declared) is not None or "(" not in declared
    return kinds.get(declared.partition("(")[0]) if is_plain else None


def declared_type(kind: pa.DataType) -> str:
    """The type that a column gets for values of an Arrow type."""
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return f"NUMBER({MOST_DIGITS},0)"
    if pa.types.is_decimal(kind):
        return f"NUMBER({kind.precision},{kind.scale})"
    if pa.types.is_floating(kind):
        return "FLOAT"
    names = {
        pa.bool_(): "BOOLEAN",
        pa.binary(): "BINARY",
        pa.date32(): "DATE",
        pa.timestamp("us"): "TIMESTAMP_NTZ(9)",
        pa.timestamp("us", "UTC"): "TIMESTAMP_LTZ(9)",
    }
    return names.get(kind, "VARCHAR")


def wider(column: pa.DataType, values: pa.DataType) -> pa.DataType | None:
    """The number with more digits before the point that holds both; nothing else can become wider there."""
    import pyarrow as pa

    if pa.types.is_integer(values):
        values = pa.decimal128(MOST_DIGITS, 0)
    if not (pa.types.is_decimal(column) and pa.types.is_decimal(values)):
        return None
    is_wider = values.scale == column.scale and values.precision > column.precision
    return values if is_wider else None


SNOWFLAKE = Warehouse(
    title="Snowflake",
    named=folded,
    known_as=str,
    unnamed=unfolded,
    arrow_type_of=arrow_type_of,
    declared_type=declared_type,
    instead="times of 6 or 9 digits, VARCHAR for JSON",
)
