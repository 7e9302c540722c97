"""What a column is at the source, noted on its Arrow field: a Parquet chunk carries it along."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

_DECLARED = b"etl_sync.type"
_BASE = b"etl_sync.base_type"
_INFERRED = b"etl_sync.inferred"


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


def inferred(name: str, arrow_type: pa.DataType, types: ColumnTypes) -> pa.Field:
    """A field whose type nobody has declared: it was told from values, and the next values may tell another.

    :param types: what a new column gets, and the type of the values, without length or precision
    """
    return noted(name, arrow_type, types, {_INFERRED: b"1"})


def is_inferred(field: pa.Field) -> bool:
    """Whether nobody has declared the field's type."""
    return _INFERRED in field.metadata


def types_of(field: pa.Field) -> ColumnTypes:
    """What is noted on a field."""
    return ColumnTypes(field.metadata[_DECLARED].decode(), field.metadata[_BASE].decode())
