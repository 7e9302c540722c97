"""BigQuery's types, and the Arrow types whose values they hold.

`The manual <https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types>`__ has their digits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_etl_sync.systems.bigquery.names import folded
from airflow_etl_sync.systems.columnar.table import Warehouse
from airflow_etl_sync.systems.columnar.types import MOST_DIGITS

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"(?:BIG)?NUMERIC\((\d+)(?:,\s*(\d+))?\)")
_TEXT = re.compile(r"(STRING|BYTES)\(\d+\)")
_NUMERIC_BEFORE, _NUMERIC_BEHIND = 29, 9
_INTEGER_DIGITS = 19
_CLUSTERED = ("BIGNUMERIC", "BOOL", "DATE", "DATETIME", "INT64", "NUMERIC", "STRING", "TIMESTAMP")
"""Types of columns by which a table can be clustered, of those that are made here."""
_MOST_CLUSTERED = 4


def arrow_type_of(declared: str) -> pa.DataType | None:
    """The Arrow type in which values go into a column; None for columns that would not hold values as they are."""
    import pyarrow as pa

    number, text = _NUMBER.fullmatch(declared), _TEXT.fullmatch(declared)
    if number is not None:
        digits, scale = int(number[1]), int(number[2] or 0)
        return pa.decimal128(digits, scale) if digits <= MOST_DIGITS else pa.decimal256(digits, scale)
    return {
        "BIGNUMERIC": pa.decimal256(76, 38),
        "BOOL": pa.bool_(),
        "BYTES": pa.binary(),
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp("us"),
        "FLOAT64": pa.float64(),
        "INT64": pa.int64(),
        "NUMERIC": pa.decimal128(MOST_DIGITS, _NUMERIC_BEHIND),
        "STRING": pa.string(),
        "TIMESTAMP": pa.timestamp("us", "UTC"),
    }.get(text[1] if text is not None else declared)


def declared_type(kind: pa.DataType) -> str:
    """The type that a column gets for values of an Arrow type."""
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return "INT64"
    if pa.types.is_floating(kind):
        return "FLOAT64"
    if pa.types.is_decimal(kind):
        return f"{_numeric(kind)}({kind.precision},{kind.scale})"
    names = {
        pa.bool_(): "BOOL",
        pa.binary(): "BYTES",
        pa.date32(): "DATE",
        pa.timestamp("us"): "DATETIME",
        pa.timestamp("us", "UTC"): "TIMESTAMP",
    }
    return names.get(kind, "STRING")


def staged_type(kind: pa.DataType) -> str:
    """The type of a staged column, one that a load job makes of Parquet without doubt.

    A time without zone is staged as one of UTC, and numbers of more than 38 digits as text.
    """
    import pyarrow as pa

    if pa.types.is_decimal256(kind):
        return "STRING"
    if pa.types.is_decimal(kind):
        return _numeric(kind)
    return "TIMESTAMP" if kind == pa.timestamp("us") else declared_type(kind)


def staged_array(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as they are staged."""
    import pyarrow as pa

    if pa.types.is_decimal256(values.type):
        return values.cast(pa.string())
    return values.cast(pa.timestamp("us", "UTC")) if values.type == pa.timestamp("us") else values


def unstaged(value: str, staged: str, declared: str) -> str:
    """A staged value, an expression, as one of the table's type."""
    base = declared.partition("(")[0]
    if base == staged:
        return value
    return f"DATETIME({value}, 'UTC')" if base == "DATETIME" else f"CAST({value} AS {base})"


def clustered(key: dict[str, str]) -> list[str]:
    """Those columns of a key by which a new table is clustered, so that a MERGE reads less of it.

    :param key: by name the types of the key's columns
    """
    return [name for name, type_ in key.items() if type_.partition("(")[0] in _CLUSTERED][:_MOST_CLUSTERED]


def wider(column: pa.DataType, values: pa.DataType) -> pa.DataType | None:
    """The number that holds both; nothing else can become wider there."""
    import pyarrow as pa

    there, here = _digits(column), _digits(values)
    if there is None or here is None:
        return None
    before, behind = max(there[0], here[0]), max(there[1], here[1])
    return pa.decimal128(before + behind, behind) if before + behind <= MOST_DIGITS else None


def _digits(kind: pa.DataType) -> tuple[int, int] | None:
    """How many digits a number has before and behind the point."""
    import pyarrow as pa

    if pa.types.is_integer(kind):
        return _INTEGER_DIGITS, 0
    return (kind.precision - kind.scale, kind.scale) if pa.types.is_decimal(kind) else None


def _numeric(kind: pa.DataType) -> str:
    is_small = kind.scale <= _NUMERIC_BEHIND and kind.precision - kind.scale <= _NUMERIC_BEFORE
    return "NUMERIC" if is_small else "BIGNUMERIC"


BIGQUERY = Warehouse(
    title="BigQuery",
    named=folded,
    known_as=folded,
    unnamed=str,
    arrow_type_of=arrow_type_of,
    declared_type=declared_type,
    instead="STRING for JSON, times of day, intervals and lists",
)
