"""What a column is at the source, noted on its Arrow field: a Parquet chunk carries it along."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

_DECLARED = b"etl_sync.type"
_BASE = b"etl_sync.base_type"


class ColumnTypes(NamedTuple):
    """The types of a column.

    :param declared: as the source declares it, with length or precision
    :param base: the built-in type nearest to it, for a database that does not have the declared one
    """

    declared: str
    base: str


def noted(name: str, arrow_type: pa.DataType, types: ColumnTypes, notes: dict[bytes, bytes] | None = None) -> pa.Field:
    """A field that knows what its column is at the source."""
    import pyarrow as pa

    told = {_DECLARED: types.declared.encode(), _BASE: types.base.encode()}
    return pa.field(name, arrow_type, metadata=told | (notes or {}))


def types_of(field: pa.Field) -> ColumnTypes:
    """What is noted on a field."""
    return ColumnTypes(field.metadata[_DECLARED].decode(), field.metadata[_BASE].decode())
