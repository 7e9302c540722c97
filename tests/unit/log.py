"""Messages of pgoutput, built by the manual's tables."""

from __future__ import annotations

import struct

from airflow_etl_sync.core.changes import Relation, Value, Values


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def relation(table: Relation) -> bytes:
    columns = b"".join(
        struct.pack(">B", column.is_key) + text(column.name) + struct.pack(">Ii", column.type_oid, column.type_modifier)
        for column in table.columns
    )
    head = struct.pack(">I", table.id) + text(table.schema) + text(table.name)
    return b"R" + head + table.identity.encode() + struct.pack(">H", len(table.columns)) + columns


def row(values: Values) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(map(column, values))


def column(value: Value) -> bytes:
    if value is None:
        return b"n"
    if not isinstance(value, str):
        return b"u"
    return b"t" + struct.pack(">I", len(value.encode())) + value.encode()


def about_table(table: Relation, kind: bytes, rest: bytes) -> bytes:
    """A message about a table."""
    return kind + struct.pack(">I", table.id) + rest
