"""Events of a binary log → messages of pgoutput: whole transactions, as far as they change captured tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_etl_sync.cdc.binlog import messages
from airflow_etl_sync.cdc.binlog.effects import CapturedNames, Effect, Meaning
from airflow_etl_sync.cdc.binlog.events import DELETES, WRITES, Event, Kind
from airflow_etl_sync.cdc.binlog.rows import RowsEvent, Shape
from airflow_etl_sync.cdc.binlog.shapes import Shapes
from airflow_etl_sync.cdc.binlog.statements import Statement
from airflow_etl_sync.cdc.binlog.xa import ended_in, prepared_in
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import SourceError, StateError

log = logging.getLogger(__name__)

_RESYNC = "run once with resync, which copies the tables afresh"
_HARMLESS = frozenset({3, 5, 13, 14, 15, 27, 28, 29, 33, 34, 35, 36, 37, 41, 42, 160, 161, 162, 163, 164})
"""Kinds of events that change no row: ends of files, numbers, positions, comments, views of a group."""
_COMPRESSED = frozenset({Kind.TRANSACTION_PAYLOAD, *range(165, 172)})
_UNTOLD = {
    Meaning.UNTOLD: "A statement has made, replaced or taken away {}, or a part of it, and the log tells of no row: "
    "reconcile the table with its copy, or run once with resync.",
    Meaning.REWRITTEN: "A statement has given the rows of {} other columns, and the log does not tell what they hold "
    "now: those that do not change again are right after one run with resync.",
}
_PREPARED_BEFORE = (
    "A transaction was committed that XA had prepared before this stream began, and the log does not tell again what "
    "it has changed: if captured tables are among that, run once with resync."
)
_NUMBER_BYTES, _FLAGS_BYTES = 6, 2


@dataclass(slots=True)
class Retelling:
    """A log on its way.

    :param keys: the columns that name a row, by ``schema.table``, of the captured tables
    :param begins: the position behind all that is committed so far
    :param noticed: sentences on what no event tells
    :param prepared: transactions that XA has prepared, and that have changed no captured table
    """

    shapes: Shapes
    keys: Mapping[str, Sequence[str]]
    begins: Lsn
    noticed: list[str] = field(default_factory=list)
    prepared: set[str] = field(default_factory=set)
    folds_case: bool = False
    names: CapturedNames = field(init=False)
    _tables: dict[bytes, Shape | None] = field(default_factory=dict)
    _told: set[int] = field(default_factory=set)
    _is_begun: bool = False

    def __post_init__(self) -> None:
        self.names = CapturedNames(list(self.keys), folds_case=self.folds_case)

    def messages(self, events: Iterable[Event], upto: Lsn, most: int) -> Iterator[bytes]:
        """The changes, until a position is reached or enough messages were given, at the end of a transaction.

        :raises StateError: where the log does not tell all
        :raises SourceError: where the events end before
        """
        given = 0
        retellers = self._retellers()
        for event in events:
            retell = retellers.get(event.kind)
            if retell is not None:
                for message in retell(event):
                    given += 1
                    yield message
            elif event.kind not in _HARMLESS:
                self._refuse_unreadable(event.kind)
            if not self._is_begun:
                self.begins = event.position
                is_before_file = event.kind == Kind.ROTATE  # what tells of the file follows
                if not is_before_file and (event.position >= upto or given >= most):
                    return
        raise SourceError("The server has ended its log before all of it was sent: a retry goes on.")

    def _retellers(self) -> Mapping[int, Callable[[Event], Iterable[bytes]]]:
        rows = (
            Kind.WRITE_ROWS_1,
            Kind.WRITE_ROWS,
            Kind.UPDATE_ROWS_1,
            Kind.UPDATE_ROWS,
            Kind.DELETE_ROWS_1,
            Kind.DELETE_ROWS,
        )
        return {
            Kind.TABLE_MAP: self._meet,
            **dict.fromkeys(rows, self._rows),
            Kind.XID: self._commit,
            Kind.QUERY: self._statement,
            Kind.ROTATE: self._change_file,
            Kind.XA_PREPARE: self._prepare,
        }

    def _change_file(self, event: Event) -> Iterable[bytes]:
        """Forget the numbers of tables, which are others after a restart; no transaction goes over two files."""
        self._refuse_undone("does not end in its file of the log")
        if event.second:  # else the server has made it up for the reader
            self._tables.clear()
        return ()

    # -- rows ---------------------------------------------------------------------------------------------

    def _meet(self, event: Event) -> Iterable[bytes]:
        self._tables[event.body[:_NUMBER_BYTES]] = self.shapes.of(event.body[_NUMBER_BYTES + _FLAGS_BYTES :])
        return ()

    def _rows(self, event: Event) -> Iterator[bytes]:
        shape = self._tables.get(event.body[:_NUMBER_BYTES])
        if shape is None:
            return
        rows = RowsEvent.of(event)
        if not rows.is_whole(len(shape.codecs)):
            raise StateError(
                f"A change of {shape.relation} was logged in parts: SET GLOBAL binlog_row_image = 'FULL', let the "
                f"writers connect anew, then {_RESYNC}."
            )
        yield from self._begin(event)
        if shape.relation.id not in self._told:
            self._told.add(shape.relation.id)
            yield messages.relation(shape.relation)
        yield from self._changes(event.kind, shape, rows.data)

    def _changes(self, kind: int, shape: Shape, data: bytes) -> Iterator[bytes]:
        table = shape.relation.id
        if kind in WRITES:
            return (messages.insert(table, shape.told(row)) for row in shape.rows(data))
        if kind in DELETES:
            return (messages.delete(table, shape.told(row)) for row in shape.rows(data))
        return self._updates(shape, data)

    def _updates(self, shape: Shape, data: bytes) -> Iterator[bytes]:
        relation = shape.relation
        names = [column.name for column in relation.columns]
        places = [names.index(name) for name in self.keys[str(relation)] if name in names]
        rows = shape.rows(data)
        for former, row in zip(rows, rows, strict=True):
            has_moved = any(former[place] != row[place] for place in places)
            yield messages.update(relation.id, shape.told(row), shape.told(former) if has_moved else None)

    # -- transactions -------------------------------------------------------------------------------------

    def _begin(self, event: Event) -> Iterator[bytes]:
        if not self._is_begun:
            self._is_begun = True
            yield messages.begin(self.begins, event.second)

    def _commit(self, event: Event) -> Iterator[bytes]:
        if self._is_begun:
            self._is_begun = False
            yield messages.commit(self.begins, event.position, event.second)

    def _prepare(self, event: Event) -> Iterator[bytes]:
        is_committed_with_it = bool(event.body[0])
        if not is_committed_with_it:
            self._refuse_undone("was prepared by XA, and may be committed later or never")
            self.prepared.add(prepared_in(event.body))
        return self._commit(event)

    def _statement(self, event: Event) -> Iterable[bytes]:
        statement = Statement.of(event.body, self.shapes.charsets)
        effect = self.names.effect_of(statement)
        if effect.meaning is Meaning.COMMIT:
            return self._commit(event)
        if effect.meaning is Meaning.TRUNCATE:
            return self._truncate(event, effect)
        if effect.meaning is Meaning.ROLLBACK:
            self._refuse_undone("was rolled back after it was logged, since it has written to other engines too")
        elif effect.meaning is Meaning.UNLOGGED:
            self._refuse_unlogged(effect, statement.schema)
        elif effect.meaning is not Meaning.NOTHING:
            self._notice(_UNTOLD[effect.meaning].format(" and ".join(effect.tables)))
        elif ended := ended_in(statement.text):
            self._end_prepared(*ended)
        return ()

    def _end_prepared(self, deed: str, name: str) -> None:
        """What was prepared before the stream began may have changed captured tables."""
        if deed == "COMMIT" and name not in self.prepared:
            self._notice(_PREPARED_BEFORE)
        self.prepared.discard(name)

    def _truncate(self, event: Event, effect: Effect) -> Iterator[bytes]:
        for table in effect.tables:
            yield from self._begin(event)
            relation = self.shapes.untold(table)
            yield messages.relation(relation)
            yield messages.truncate([relation.id])
        yield from self._commit(event)

    # -- what is not told ---------------------------------------------------------------------------------

    def _notice(self, sentence: str) -> None:
        log.warning("%s", sentence)
        self.noticed.append(sentence)

    def _refuse_unlogged(self, effect: Effect, schema: str) -> None:
        raise StateError(
            f"A statement on {', '.join(effect.tables) or schema} was logged as such, without its rows: SET GLOBAL "
            f"binlog_format = 'ROW', let the writers connect anew, then {_RESYNC}."
        )

    def _refuse_undone(self, what: str) -> None:
        if self._is_begun:
            raise StateError(f"A transaction on captured tables {what}: this cannot be followed, so {_RESYNC}.")

    def _refuse_unreadable(self, kind: int) -> None:
        if kind in _COMPRESSED:
            raise StateError(
                "The log is compressed, which cannot be read here: SET GLOBAL log_bin_compress = OFF (MySQL: "
                f"binlog_transaction_compression), let the writers connect anew, then {_RESYNC}."
            )
        if kind == Kind.INCIDENT:
            raise StateError(f"The server has noted that its log lacks changes: {_RESYNC}.")
        raise StateError(f"The log holds an event of kind {kind}, which may change rows and cannot be read: {_RESYNC}.")
