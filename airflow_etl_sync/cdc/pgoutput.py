"""The messages of PostgreSQL's output plugin ``pgoutput``, protocol 1: bytes in, values out, nothing else.

Formats: `Logical Replication Message Formats
<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>`__.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import cast

from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Identity,
    Insert,
    LogicalMessage,
    Lsn,
    Message,
    Origin,
    Relation,
    RelationColumn,
    Truncate,
    TypeMessage,
    Update,
    Value,
    Values,
)
from airflow_etl_sync.errors import StateError

_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
_BEGIN = struct.Struct(">qqI")
_COMMIT = struct.Struct(">Bqqq")
_COLUMN = struct.Struct(">Ii")
_LOGICAL = struct.Struct(">Bq")
_INT16 = struct.Struct(">H").unpack_from
_INT32 = struct.Struct(">I").unpack_from
_INT64 = struct.Struct(">q").unpack_from
_NULL, _UNCHANGED, _TEXT = b"nut"
_KEY, _OLD, _NEW = b"KON"
_IS_KEY, _IS_TRANSACTIONAL = 1, 1


class Decoder:
    """Decodes messages in the order in which they come: those about rows refer to relations told before."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._by_kind: dict[int, Callable[[bytes], Message]] = {
            ord("B"): _begin,
            ord("C"): _commit,
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("T"): self._truncate,
            ord("R"): self._relation,
            ord("O"): _origin,
            ord("Y"): _type,
            ord("M"): _logical,
        }

    def decode(self, data: bytes) -> Message:
        """One message.

        :raises StateError: for a kind of message that protocol 1 does not have, and for one that is not whole
        """
        try:
            decode = self._by_kind[data[0]]
        except (KeyError, IndexError):
            raise StateError(
                f"The log holds a message of the kind {data[:1]!r}, which protocol 1 of pgoutput does not have: "
                "update airflow-etl-sync."
            ) from None
        try:
            return decode(data)
        except (IndexError, KeyError, ValueError, OverflowError, struct.error):
            raise StateError(
                f"A message of the kind {data[:1]!r} in the log is not whole, or speaks of a table not told before: "
                "read the slot again from its confirmed position."
            ) from None

    def _insert(self, data: bytes) -> Insert:
        relation = self._relations[_INT32(data, 1)[0]]
        _expect(data, 5, _NEW)
        return Insert(relation, _values(data, 6, relation)[0])

    def _update(self, data: bytes) -> Update:
        relation = self._relations[_INT32(data, 1)[0]]
        kind, at, old = data[5], 6, None
        if kind in (_KEY, _OLD):
            old, at = _values(data, 6, relation)
            _expect(data, at, _NEW)
            at += 1
        else:
            _expect(data, 5, _NEW)
        return Update(relation, old, _values(data, at, relation)[0], kind != _OLD)

    def _delete(self, data: bytes) -> Delete:
        relation = self._relations[_INT32(data, 1)[0]]
        _expect(data, 5, _KEY, _OLD)
        return Delete(relation, _values(data, 6, relation)[0], data[5] == _KEY)

    def _truncate(self, data: bytes) -> Truncate:
        ids = [_INT32(data, 6 + 4 * place)[0] for place in range(_INT32(data, 1)[0])]
        return Truncate(tuple(self._relations[each] for each in ids))

    def _relation(self, data: bytes) -> Relation:
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
        return self._relations[told.id]


def transactions(messages: Iterable[tuple[Lsn, bytes]], decoder: Decoder) -> Iterator[Begin | Change | Commit]:
    """What happened, message by message, without what only the decoder needs; no transaction is held in memory."""
    for _, data in messages:
        message = decoder.decode(data)
        if not isinstance(message, (Relation, Origin, TypeMessage, LogicalMessage)):
            yield message


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
            if at > len(data):
                raise ValueError
            values.append(data[start:at].decode())
        elif kind == _NULL:
            values.append(None)
            at += 1
        elif kind == _UNCHANGED:
            values.append(UNCHANGED)
            at += 1
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


def _begin(data: bytes) -> Begin:
    lsn, at, xid = _BEGIN.unpack_from(data, 1)
    return Begin(lsn, _moment(at), xid)


def _commit(data: bytes) -> Commit:
    _, lsn, end_lsn, at = _COMMIT.unpack_from(data, 1)
    return Commit(lsn, end_lsn, _moment(at))


def _origin(data: bytes) -> Origin:
    return Origin(_INT64(data, 1)[0], _name(data, 9)[0])


def _type(data: bytes) -> TypeMessage:
    schema, at = _name(data, 5)
    return TypeMessage(_INT32(data, 1)[0], schema or "pg_catalog", _name(data, at)[0])


def _logical(data: bytes) -> LogicalMessage:
    flags, lsn = _LOGICAL.unpack_from(data, 1)
    prefix, at = _name(data, 1 + _LOGICAL.size)
    end = at + 4 + _INT32(data, at)[0]
    if end > len(data):
        raise ValueError
    return LogicalMessage(lsn, bool(flags & _IS_TRANSACTIONAL), prefix, data[at + 4 : end])
