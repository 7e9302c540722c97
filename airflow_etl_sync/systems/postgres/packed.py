"""Rows as PostgreSQL packs them for COPY: they go from one server into another and are never unpacked on the way.

A packed batch is a record batch with one column, a row's bytes in each place, so it is cut, counted and worked ahead
like any other. The field of that column tells which columns are in the rows.

The binary formats of the types below have been the same in every release since PostgreSQL 10 (``typreceive`` checks
what it is given), and those that are text in binary too go into text. Every other type is cast to text at the source.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.systems.postgres.types import OWN, PLAIN, StreamColumn, own_encoding, time_text

if TYPE_CHECKING:
    import pyarrow as pa

PACKING = "COPY of PostgreSQL"
"""The name by which a source and a destination find that they understand each other."""

_ROWS = "rows"
_COLUMNS = b"etl_sync.packed"
_LENGTH = struct.Struct("!i")
_FIELD_COUNT = 2  # bytes before the first field
_TEXT = {"text", "varchar", "bpchar", "name", "json", "enum"}


@dataclass(frozen=True, slots=True)
class PackedColumn(StreamColumn):
    """A column of a stream that is read packed.

    :param staged_as: the type in which it is staged; "" where it is read as text
    """

    staged_as: str = ""

    @property
    def is_exact(self) -> bool:
        return bool(self.staged_as)


def packed_column(column: StreamColumn, *, is_told: bool) -> PackedColumn:
    """How a column goes into packed rows.

    :param is_told: whether its values must be told, since reading goes on behind one of them
    """
    base = column.base_type
    staged_as = PLAIN.get(base) or ("text" if base in _TEXT else OWN.get(base, ""))
    if is_told and base in OWN and base != "numeric":
        staged_as = ""
    return PackedColumn(column.name, column.type, column.plain_type, base, column.fallback_type, staged_as)


def rows_field(columns: Sequence[PackedColumn]) -> pa.Field:
    """The field of packed rows."""
    import pyarrow as pa

    fields = [
        noted(
            column.name,
            pa.null(),
            ColumnTypes(column.type, column.fallback_type),
            own_encoding(column.base_type, column.staged_as or "text"),
        )
        for column in columns
    ]
    return pa.field(_ROWS, pa.binary(), metadata={_COLUMNS: pa.schema(fields).serialize().to_pybytes()})


def pack(rows: Sequence[bytes], field: pa.Field) -> pa.RecordBatch:
    """Rows as one batch."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array(rows, pa.binary())], schema=pa.schema([field]))


def is_packed(schema: pa.Schema) -> bool:
    """Whether batches of this schema hold packed rows."""
    return len(schema) == 1 and _COLUMNS in (schema.field(0).metadata or {})


def columns_of(schema: pa.Schema) -> pa.Schema:
    """The columns in packed rows."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(schema.field(0).metadata[_COLUMNS]))


def bytes_of(batch: pa.RecordBatch) -> memoryview:
    """The rows of a packed batch one after another, as COPY takes them; nothing is copied."""
    array = batch.column(0)
    _, offsets, values = array.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(values)[ends[array.offset] : ends[array.offset + len(array)]]


def value_text(batch: pa.RecordBatch, row: int, place: int, column: PackedColumn) -> str | None:
    """The value of one column of one row as text that PostgreSQL reads back as the same value.

    None stands for NULL, and for dates that Python cannot write.
    """
    packed: bytes = batch.column(0)[row].as_py()
    at = _FIELD_COUNT
    for _ in range(place):
        at += _LENGTH.size + max(0, _LENGTH.unpack_from(packed, at)[0])
    (length,) = _LENGTH.unpack_from(packed, at)
    if length < 0:
        return None
    at += _LENGTH.size
    return _text(column, packed[at : at + length])


def _text(column: PackedColumn, value: bytes) -> str | None:
    return _TEXTS.get(column.base_type, bytes.decode)(value) if column.staged_as else value.decode()


def _integer(value: bytes) -> str:
    return str(int.from_bytes(value, "big", signed=True))


def _numeric(value: bytes) -> str:
    from psycopg.types.numeric import NumericBinaryLoader

    return str(NumericBinaryLoader(0).load(value))


def _time(base: str, value: bytes) -> str | None:
    return time_text(int.from_bytes(value, "big", signed=True), base)


_TEXTS: dict[str, Callable[[bytes], str | None]] = {
    **dict.fromkeys(("bool", "int2", "int4", "int8"), _integer),
    **{base: partial(_time, base) for base in ("date", "time", "timestamp", "timestamptz")},
    "float4": lambda value: repr(struct.unpack("!f", value)[0]),
    "float8": lambda value: repr(struct.unpack("!d", value)[0]),
    "bytea": lambda value: "\\x" + value.hex(),
    "uuid": lambda value: str(UUID(bytes=value)),
    "numeric": _numeric,
}
"""By type, how its packed value becomes text; what is not here is text when packed, too."""
