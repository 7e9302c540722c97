"""What a column is at the source, noted on its Arrow field: a Parquet chunk carries it along."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

_DECLARED = b"etl_sync.type"
_BASE = b"etl_sync.base_type"
_INFERRED = b"etl_sync.inferred"
_BY_TRANSFORM = b"transform"
_LIMITS = re.compile(r"\(\d+(,-?\d+)?\)")
_UNLIMITED = {"character": "bpchar", "bit": '"bit"'}
"""Types that are of length 1 where they say nothing of it, and those that are of any length."""


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


def passed(field: pa.Field) -> pa.Field:
    """A field that came through a transform: declared as it was, while nobody vouches that its values still are."""
    base = _LIMITS.sub("", types_of(field).base)
    told = {_BASE: _UNLIMITED.get(base, base).encode(), _INFERRED: _BY_TRANSFORM}
    return field.with_metadata({**field.metadata, **told})


def is_inferred(field: pa.Field) -> bool:
    """Whether nobody has declared the type of the field's values."""
    return _INFERRED in (field.metadata or {})


def has_declared_type(field: pa.Field) -> bool:
    """Whether the source has declared the field's type, be its values still of it or not."""
    return bool(field.metadata.get(_INFERRED, _BY_TRANSFORM) == _BY_TRANSFORM)


def types_of(field: pa.Field) -> ColumnTypes:
    """What is noted on a field."""
    return ColumnTypes(field.metadata[_DECLARED].decode(), field.metadata[_BASE].decode())
