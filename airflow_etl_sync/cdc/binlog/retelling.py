"""Events of a binary log → messages of pgoutput: whole transactions, as far as they change captured tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.cdc.binlog import messages
from airflow_etl_sync.cdc.binlog.rows import Shape
from airflow_etl_sync.cdc.binlog.shapes import Shapes
from airflow_etl_sync.cdc.binlog.statements import Meaning, meaning_of, names_in
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import StateError

if TYPE_CHECKING:
    from pymysqlreplication.event import QueryEvent
    from pymysqlreplication.row_event import RowsEvent

log = logging.getLogger(__name__)

_RESYNC = "run once with resync, which copies the tables afresh"
_WRITE, _UPDATE, _DELETE = frozenset({23, 30}), frozenset({24, 31}), frozenset({25, 32})
_PARTIAL_UPDATE, _INCIDENT, _TRANSACTION_PAYLOAD = 39, 26, 40
_COMPRESSED = frozenset(range(165, 172))
_HARMLESS = frozenset({3, 5, 13, 14, 28, 29, 34, 35, 36, 37, 41, 42, 163})
"""Kinds of events that the library does not know, or that hold nothing of rows: numbers, positions, views of a group."""


class Told(NamedTuple):
    """An event, with the position behind it."""

    event: Any
    position: Lsn


@dataclass(slots=True)
class Retelling:
    """A log on its way.

    :param keys: the columns that name a row, by ``schema.table``, of the captured tables
    :param begins: the position behind all that is committed so far
    :param noticed: sentences on what no event tells
    """

    shapes: Shapes
    keys: Mapping[str, Sequence[str]]
    begins: Lsn
    noticed: list[str] = field(default_factory=list)
    _tables: dict[int, Shape] = field(default_factory=dict)
    _told: set[int] = field(default_factory=set)
    _is_begun: bool = False

    def messages(self, events: Iterable[Told], upto: Lsn, most: int) -> Iterator[bytes]:
        """The changes, until a position is reached or enough messages were given, at the end of a transaction.

        :raises StateError: where the log does not tell all
        """
        given = 0
        for event, position in events:
            for message in self._retell(event, position):
                given += 1
                yield message
            if not self._is_begun:
                self.begins = position
                is_at_file = type(event).__name__ == "RotateEvent"  # whose own event follows
                if not is_at_file and (position >= upto or given >= most):
                    return

    def _retell(self, event: Any, position: Lsn) -> Iterator[bytes]:
        match type(event).__name__:
            case "TableMapEvent":
                self._meet(event)
            case "WriteRowsEvent" | "UpdateRowsEvent" | "DeleteRowsEvent":
                yield from self._rows(event)
            case "XidEvent":
                yield from self._commit(event.timestamp, position)
            case "QueryEvent":
                yield from self._statement(event, position)
            case "RotateEvent" if event.timestamp:
                self._tables.clear()
            case "XAPrepareEvent" if not event.one_phase:
                self._refuse_undone("was prepared by XA, and may be committed later or never")
            case "XAPrepareEvent":
                yield from self._commit(event.timestamp, position)
            case "BeginLoadQueryEvent" | "ExecuteLoadQueryEvent" | "PartialUpdateRowsEvent" | "NotImplementedEvent":
                self._refuse_unreadable(event.event_type)

    # -- rows ---------------------------------------------------------------------------------------------

    def _meet(self, event: Any) -> None:
        self._tables.pop(event.table_id, None)
        if f"{event.schema}.{event.table}" in self.keys:
            self._tables[event.table_id] = self.shapes.of(event)

    def _rows(self, event: RowsEvent) -> Iterator[bytes]:
        shape = self._tables.get(event.table_id)
        if shape is None:
            return
        self._refuse_parts(event, shape)
        yield from self._begin(event.timestamp)
        if shape.relation.id not in self._told:
            self._told.add(shape.relation.id)
            yield messages.relation(shape.relation)
        yield from self._changes(event, shape)

    def _changes(self, event: RowsEvent, shape: Shape) -> Iterator[bytes]:
        data = event.packet.read(event.event_size - event.packet.read_bytes)
        table = shape.relation.id
        if event.event_type in _WRITE:
            return (messages.insert(table, row) for row in shape.rows(data))
        if event.event_type in _DELETE:
            return (messages.delete(table, row) for row in shape.rows(data))
        return self._updates(shape, data)

    def _updates(self, shape: Shape, data: bytes) -> Iterator[bytes]:
        relation = shape.relation
        names = [column.name for column in relation.columns]
        places = [names.index(name) for name in self.keys[str(relation)] if name in names]
        rows = shape.rows(data)
        for former, row in zip(rows, rows, strict=True):
            has_moved = any(former[place] != row[place] for place in places)
            yield messages.update(relation.id, row, former if has_moved else None)

    def _refuse_parts(self, event: Any, shape: Shape) -> None:
        columns = len(shape.codecs)
        all_of_them = ((1 << columns) - 1).to_bytes((columns + 7) // 8, "little")
        bitmaps = [event.columns_present_bitmap, getattr(event, "columns_present_bitmap2", all_of_them)]
        if event.number_of_columns != columns or any(
            _without_padding(each, columns) != all_of_them for each in bitmaps
        ):
            raise StateError(
                f"A change of {shape.relation} was logged in parts: SET GLOBAL binlog_row_image = 'FULL', let the "
                f"writers connect anew, then {_RESYNC}."
            )

    # -- transactions -------------------------------------------------------------------------------------

    def _begin(self, second: int) -> Iterator[bytes]:
        if not self._is_begun:
            self._is_begun = True
            yield messages.begin(self.begins, second)

    def _commit(self, second: int, end: Lsn) -> Iterator[bytes]:
        if self._is_begun:
            self._is_begun = False
            yield messages.commit(self.begins, end, second)

    def _statement(self, event: QueryEvent, position: Lsn) -> Iterator[bytes]:
        names = {table.partition(".")[2] for table in self.keys}
        schemas = {table.partition(".")[0] for table in self.keys}
        match meaning_of(event.query, names, schemas):
            case Meaning.COMMIT:
                yield from self._commit(event.timestamp, position)
            case Meaning.ROLLBACK:
                self._refuse_undone("was rolled back after it was logged, since it has written to other engines too")
            case Meaning.TRUNCATE:
                yield from self._truncate(event, position)
            case Meaning.UNTOLD:
                self._notice(event, names)
            case Meaning.UNLOGGED:
                self._refuse_unlogged(event, names, schemas)

    def _truncate(self, event: QueryEvent, position: Lsn) -> Iterator[bytes]:
        schema = event.schema.decode()
        words = names_in(event.query, {name for table in self.keys for name in table.split(".", 1)})
        for table in self.keys:
            of, name = table.split(".", 1)
            if name in words and (of == schema or of in words):
                yield from self._begin(event.timestamp)
                relation = self.shapes.untold(table)
                yield messages.relation(relation)
                yield messages.truncate([relation.id])
        yield from self._commit(event.timestamp, position)

    # -- what is not told ---------------------------------------------------------------------------------

    def _notice(self, event: QueryEvent, names: set[str]) -> None:
        tables = ", ".join(sorted(names_in(event.query, names))) or event.schema.decode()
        sentence = (
            f"A statement has made, replaced or taken away {tables}, or a part of it, and the log tells of no row: "
            "reconcile the table with its copy, or run once with resync."
        )
        log.warning("%s", sentence)
        self.noticed.append(sentence)

    def _refuse_unlogged(self, event: QueryEvent, names: set[str], schemas: set[str]) -> None:
        named = sorted(names_in(event.query, names))
        is_of_another_table = event.query.lstrip()[:6].upper() == "DELETE"
        if named or (event.schema.decode() in schemas and not is_of_another_table):
            raise StateError(
                f"A statement on {', '.join(named) or event.schema.decode()} was logged as such, without its rows: SET "
                f"GLOBAL binlog_format = 'ROW', let the writers connect anew, then {_RESYNC}."
            )

    def _refuse_undone(self, what: str) -> None:
        if self._is_begun:
            raise StateError(f"A transaction on captured tables {what}: this cannot be followed, so {_RESYNC}.")

    def _refuse_unreadable(self, kind: int) -> None:
        if kind in _HARMLESS:
            return
        if kind in _COMPRESSED or kind == _TRANSACTION_PAYLOAD:
            raise StateError(
                "The log is compressed, which cannot be read here: SET GLOBAL log_bin_compress = OFF (MySQL: "
                f"binlog_transaction_compression), let the writers connect anew, then {_RESYNC}."
            )
        if kind == _INCIDENT:
            raise StateError(f"The server has noted that its log lacks changes: {_RESYNC}.")
        raise StateError(
            f"The log holds an event of kind {kind} that cannot be read: rows may be changed by it, so {_RESYNC}."
        )


def _without_padding(bitmap: bytes, columns: int) -> bytes:
    bits = int.from_bytes(bitmap, "little") & ((1 << columns) - 1)
    return bits.to_bytes(len(bitmap), "little")
