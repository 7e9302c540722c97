"""DuckDB's types, and the Arrow types whose values they hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_etl_sync.systems.columnar.types import holds

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def arrow_type_of(declared: str) -> pa.DataType:
    """The Arrow type in which values go into a column; text for all that DuckDB reads from text."""
    import pyarrow as pa

    decimal = _DECIMAL.fullmatch(declared)
    if decimal is not None:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return {name: type_ for type_, name in _names()}.get(declared, pa.string())


def declared_type(kind: pa.DataType) -> str:
    """The type that a new column gets."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return next((name for type_, name in _names() if type_ == kind), "VARCHAR")


def wider(column: pa.DataType, values: pa.DataType) -> pa.DataType | None:
    """The values' type, where it holds the column's values too."""
    return values if values != column and holds(values, column) and not _is_text(values) else None


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind))


def _names() -> list[tuple[pa.DataType, str]]:
    import pyarrow as pa

    return [
        (pa.int8(), "TINYINT"),
        (pa.int16(), "SMALLINT"),
        (pa.int32(), "INTEGER"),
        (pa.int64(), "BIGINT"),
        (pa.float32(), "FLOAT"),
        (pa.float64(), "DOUBLE"),
        (pa.bool_(), "BOOLEAN"),
        (pa.binary(), "BLOB"),
        (pa.date32(), "DATE"),
        (pa.timestamp("us"), "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
    ]
