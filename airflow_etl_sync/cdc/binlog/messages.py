"""What a binary log tells, written as the messages of pgoutput: the form in which changes are folded many at a time.

Formats: see :mod:`airflow_etl_sync.cdc.pgoutput`, which reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from airflow_etl_sync.core.changes import Lsn, Relation

Row = Sequence[bytes | None]
"""A row's values as PostgreSQL writes them; None is NULL."""

_BEGIN = struct.Struct(">cQqI")
_COMMIT = struct.Struct(">cBQQq")
_COLUMN = struct.Struct(">Ii")
_HEAD = struct.Struct(">cI")
_SINCE_2000 = 946_684_800


def begin(at: Lsn, second: int) -> bytes:
    """The changes of a transaction follow.

    :param at: a position behind all that is committed before it, and before its own end
    :param second: when it was committed, since 1970
    """
    return _BEGIN.pack(b"B", at, _moment(second), 0)


def commit(at: Lsn, end: Lsn, second: int) -> bytes:
    """The end of a transaction, and the position to go on from."""
    return _COMMIT.pack(b"C", 0, at, end, _moment(second))


def relation(told: Relation) -> bytes:
    """A table as it is when its next changes are made."""
    columns = (
        bytes([each.is_key]) + each.name.encode() + b"\0" + _COLUMN.pack(each.type_oid, each.type_modifier)
        for each in told.columns
    )
    names = told.schema.encode() + b"\0" + told.name.encode() + b"\0"
    count = len(told.columns).to_bytes(2, "big")
    return _HEAD.pack(b"R", told.id) + names + told.identity.encode() + count + b"".join(columns)


def insert(table: int, row: Row) -> bytes:
    """A new row."""
    return _HEAD.pack(b"I", table) + b"N" + _values(row)


def update(table: int, row: Row, former: Row | None) -> bytes:
    """A changed row.

    :param former: the row before, where its key was another
    """
    before = b"" if former is None else b"O" + _values(former)
    return _HEAD.pack(b"U", table) + before + b"N" + _values(row)


def delete(table: int, row: Row) -> bytes:
    """A row that is gone."""
    return _HEAD.pack(b"D", table) + b"O" + _values(row)


def truncate(tables: Iterable[int]) -> bytes:
    """Tables that were emptied."""
    ids = [each.to_bytes(4, "big") for each in tables]
    return b"T" + len(ids).to_bytes(4, "big") + b"\0" + b"".join(ids)


def _values(row: Row) -> bytes:
    parts = [len(row).to_bytes(2, "big")]
    for value in row:
        parts += (b"n",) if value is None else (b"t", len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


def _moment(second: int) -> int:
    return (second - _SINCE_2000) * 1_000_000
