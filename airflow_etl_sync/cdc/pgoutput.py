"""The messages of PostgreSQL's output plugin ``pgoutput``, protocol 1: bytes in, values out, nothing else.

Formats: `Logical Replication Message Formats
<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>`__.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import cast

from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Identity,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    Relation,
    RelationColumn,
    RowChange,
    Truncate,
    TypeMessage,
    Update,
    Value,
    Values,
)
from airflow_etl_sync.errors import StateError

_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")
_COLUMN = struct.Struct(">Ii")
_LOGICAL = struct.Struct(">BQ")
_INT16 = struct.Struct(">H").unpack_from
_INT32 = struct.Struct(">I").unpack_from
_INT64 = struct.Struct(">Q").unpack_from
_NULL, _UNCHANGED, _TEXT, _BINARY = b"nutb"
_KEY, _OLD, _NEW = b"KON"
_IS_KEY, _IS_TRANSACTIONAL = 1, 1
_AGAIN = "read the slot again from its confirmed position."


class Decoder:
    """Decodes messages in the order in which they come: those about rows refer to relations told before."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._by_kind: dict[int, Callable[[bytes], tuple[Message, int]]] = {
            ord("B"): _begin,
            ord("C"): _commit,
            **dict.fromkeys(b"IUD", self._row),
            ord("T"): self._truncate,
            ord("R"): self._relation,
            ord("O"): _origin,
            ord("Y"): _type,
            ord("M"): _logical,
        }

    def decode(self, data: bytes) -> Message:
        """One message.

        :raises StateError: for a kind of message or value that was not asked for, and for a message that is not whole
        """
        try:
            message, end = self._by_kind[data[0]](data)
        except UnicodeDecodeError:
            raise not_utf8() from None
        except (IndexError, KeyError, ValueError, OverflowError, struct.error):
            raise self._refused(data) from None
        if end != len(data):
            raise self._refused(data)
        return message

    def relation(self, id_: int) -> Relation | None:
        """The table as it was told last; None where it was not."""
        return self._relations.get(id_)

    def _refused(self, data: bytes) -> StateError:
        what = f"The log holds a message of the kind {data[:1]!r}"
        if not data or data[0] not in self._by_kind:
            return StateError(f"{what}, which protocol 1 of pgoutput does not have: update airflow-etl-sync.")
        if data[0] in b"IUD" and len(data) >= 5 and _INT32(data, 1)[0] not in self._relations:
            return StateError(f"{what} about a table not told before: {_AGAIN}")
        return StateError(f"{what} that is not whole: {_AGAIN}")

    def _row(self, data: bytes) -> tuple[RowChange, int]:
        return _ROWS[data[0]](data, self._relations[_INT32(data, 1)[0]])

    def _truncate(self, data: bytes) -> tuple[Truncate, int]:
        end = 6 + 4 * _INT32(data, 1)[0]
        ids = [_INT32(data, at)[0] for at in range(6, end, 4)]
        return Truncate(tuple(self._relations[each] for each in ids)), end

    def _relation(self, data: bytes) -> tuple[Relation, int]:
        schema, at = _name(data, 5)
        name, at = _name(data, at)
        identity, count = chr(data[at]), _INT16(data, at + 1)[0]
        if identity not in "dnfi":
            raise ValueError
        at += 3
        columns = []
        for _ in range(count):
            is_key = bool(data[at] & _IS_KEY)
            column, at = _name(data, at + 1)
            columns.append(RelationColumn(column, is_key, *_COLUMN.unpack_from(data, at)))
            at += _COLUMN.size
        told = Relation(_INT32(data, 1)[0], schema or "pg_catalog", name, cast("Identity", identity), tuple(columns))
        # the same object while nothing has changed, so that those who compare it have little to do
        known = self._relations.get(told.id)
        self._relations[told.id] = known if known == told else told
        return self._relations[told.id], at


def not_utf8() -> StateError:
    """The error for text that cannot be read."""
    return StateError(
        "The log holds text that is not UTF-8: read the slot with client_encoding UTF8 (a database in SQL_ASCII must "
        "hold nothing else)."
    )


def row_change(data: bytes, relation: Relation) -> RowChange:
    """A change of a row, of a message that is known to be whole.

    :raises StateError: where a text is not UTF-8
    """
    try:
        return _ROWS[data[0]](data, relation)[0]
    except UnicodeDecodeError:
        raise not_utf8() from None


def _insert(data: bytes, relation: Relation) -> tuple[Insert, int]:
    _expect(data, 5, _NEW)
    new, at = _values(data, 6, relation)
    return Insert(relation, new), at


def _update(data: bytes, relation: Relation) -> tuple[Update, int]:
    kind, at, old = data[5], 5, None
    if kind in (_KEY, _OLD):
        old, at = _values(data, 6, relation)
    _expect(data, at, _NEW)
    new, at = _values(data, at + 1, relation)
    return Update(relation, old, new, kind != _OLD), at


def _delete(data: bytes, relation: Relation) -> tuple[Delete, int]:
    _expect(data, 5, _KEY, _OLD)
    old, at = _values(data, 6, relation)
    return Delete(relation, old, data[5] == _KEY), at


_ROWS: dict[int, Callable[[bytes, Relation], tuple[RowChange, int]]] = dict(
    zip(b"IUD", (_insert, _update, _delete), strict=True)
)


def _values(data: bytes, at: int, relation: Relation) -> tuple[Values, int]:
    count = _INT16(data, at)[0]
    if count != len(relation.columns):
        raise ValueError
    at += 2
    values: list[Value] = []
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + _INT32(data, at + 1)[0]
            values.append(data[start:at].decode())
        elif kind == _NULL:
            values.append(None)
            at += 1
        elif kind == _UNCHANGED:
            values.append(UNCHANGED)
            at += 1
        elif kind == _BINARY:
            raise StateError(
                "The log holds values of the kind b'b', binary: read the slot without the option 'binary'."
            )
        else:
            raise ValueError
    return tuple(values), at


def _expect(data: bytes, at: int, *kinds: int) -> None:
    if data[at] not in kinds:
        raise ValueError


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _begin(data: bytes) -> tuple[Begin, int]:
    lsn, at, xid = _BEGIN.unpack_from(data, 1)
    return Begin(lsn, _moment(at), xid), 1 + _BEGIN.size


def _commit(data: bytes) -> tuple[Commit, int]:
    _, lsn, end_lsn, at = _COMMIT.unpack_from(data, 1)
    return Commit(lsn, end_lsn, _moment(at)), 1 + _COMMIT.size


def _origin(data: bytes) -> tuple[Origin, int]:
    name, at = _name(data, 9)
    return Origin(_INT64(data, 1)[0], name), at


def _type(data: bytes) -> tuple[TypeMessage, int]:
    schema, at = _name(data, 5)
    name, at = _name(data, at)
    return TypeMessage(_INT32(data, 1)[0], schema or "pg_catalog", name), at


def _logical(data: bytes) -> tuple[LogicalMessage, int]:
    flags, lsn = _LOGICAL.unpack_from(data, 1)
    prefix, at = _name(data, 1 + _LOGICAL.size)
    end = at + 4 + _INT32(data, at)[0]
    return LogicalMessage(lsn, bool(flags & _IS_TRANSACTIONAL), prefix, data[at + 4 : end]), end
