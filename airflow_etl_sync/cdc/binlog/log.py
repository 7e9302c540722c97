"""Everything that is asked of the binary log of MySQL or MariaDB."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.binlog import sql
from airflow_etl_sync.cdc.binlog.events import Event, Kind, read_events
from airflow_etl_sync.cdc.binlog.positions import base_of, file_number, position_text
from airflow_etl_sync.cdc.binlog.preflight import Finding, examine
from airflow_etl_sync.cdc.binlog.restarts import WholeLog
from airflow_etl_sync.cdc.binlog.retelling import Retelling
from airflow_etl_sync.cdc.binlog.server import Server, read_charsets, read_files, read_newest, read_server
from airflow_etl_sync.cdc.binlog.shapes import Shapes
from airflow_etl_sync.cdc.binlog.tables import look_up
from airflow_etl_sync.cdc.binlog.visibility import wait_until_visible
from airflow_etl_sync.cdc.binlog.whole import WholeTable
from airflow_etl_sync.cdc.change_log import LogHealth, TornDown
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.changes import Lsn, Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.errors import SourceError, StateError, explaining
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.systems.database.access import DatabaseAccess
from airflow_etl_sync.systems.database.faults import fault_in

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CANNOT_READ = 1236
"""The server's number for all that it finds amiss in its log."""
_IS_GONE = ("Could not find first log file name", "position > file size", "impossible position")
"""What it says of a file or a position that it does not have."""
_PREPARED = "prepared"
"""In a pipeline's metadata: transactions that XA has prepared, and that have changed no captured table."""
_FILE, _FILE_BEGAN = "log_file", "log_file_began"
"""In a pipeline's metadata: the number of a file, and when the server began it: another of that name is another log."""


@dataclass(slots=True)
class BinaryLog:
    """The log of a server, of which a stream keeps its own position: the server knows of no reader.

    A position is a file's number and a place in it, so it belongs to one server; see
    :mod:`airflow_etl_sync.cdc.change_log` for what is promised.

    :param access: the server, and the login to it, which may read the log
    :param noticed: what has happened to the tables since they were looked up, and no row tells
    """

    access: DatabaseAccess
    noticed: list[str] = field(default_factory=list)
    _server: Server | None = None
    _base: str = ""
    _acknowledged: Lsn = 0
    _shapes: Shapes | None = None
    _keys: dict[str, Sequence[str]] = field(default_factory=dict)
    _file: dict[str, int] = field(default_factory=dict)
    _prepared: set[str] = field(default_factory=set)
    _whole: WholeLog | None = None

    @property
    def name(self) -> str:
        """The log's name in the state tables: another server has another one."""
        with self._connected("look at") as connection:
            self._look(connection)
            return f"{self._base} of {self._known_server(connection).identity}"

    @property
    def publications(self) -> Sequence[str]:
        return ()

    def text(self, position: Lsn) -> str:
        return position_text(self._base, position)

    def preflight(self, tables: Sequence[TableName] = ()) -> list[Finding]:
        """What is amiss, in the order in which it is to be mended."""
        with self._connected("look at") as connection:
            return examine(connection, tables, lambda newest: self._begin_to_read(connection, newest))

    def set_up(self, tables: Sequence[TableName]) -> Lsn:
        """Make sure that changes can be captured; nothing is made, since the server's log is there for everybody.

        :return: the position from which on it would give changes
        :raises EtlSyncError: for what is amiss
        """
        for finding in self.preflight(tables):
            if finding.is_error:
                raise finding.as_error()
        return self.flushed()

    def tear_down(self) -> TornDown:
        """Nothing is there to be dropped: the server keeps nothing for a reader."""
        return TornDown(has_dropped_slot=False, has_dropped_publication=False)

    def look_up(self, tables: Sequence[CdcTable]) -> list[SourceTable]:
        """Find the tables at the source.

        :raises SchemaError: where one is missing, or has no key
        """
        with self._connected("look at the tables of") as connection:
            found = look_up(connection, tables)
            server = self._known_server(connection)
            charsets = read_charsets(connection, server)
        self._shapes = Shapes(server.is_mariadb, charsets, {each.table.name: each.columns for each in found})
        self._keys = {each.table.name: each.table.terms.key for each in found}
        self.noticed.clear()
        return [each.table for each in found]

    def relation_types(self, relations: Sequence[Relation], /) -> dict[int, dict[str, ColumnTypes]]:
        """The types of relations' columns, by the relation's id and the column's name."""
        return self._shapes.types(relations) if self._shapes else {}

    def beginning(self, confirmed: Lsn, flushed: Lsn) -> Lsn:  # noqa: ARG002 - the seam's signature
        """A stream begins at the end of what is written."""
        return flushed

    def confirmed(self) -> Lsn:
        """The first position from which on changes can still be had."""
        with self._connected("ask for the files of") as connection:
            return read_files(connection)[0].begins

    def flushed(self) -> Lsn:
        with self._connected("ask for the position of") as connection:
            return self._look(connection)

    def lost(self, pipeline: Pipeline, confirmed: Lsn = 0) -> StateError:  # noqa: ARG002 - the seam's signature
        """What is said where changes behind a stream's position cannot be had any more."""
        return StateError(
            f"The changes of {pipeline.sync_key!r} are applied up to {self.text(pipeline.applied)}, and the server has "
            "removed its log of what follows, or has begun it anew: run once with resync, which copies the tables "
            "afresh, then reconcile those that are no histories; and let the server keep its log longer "
            "(binlog_expire_logs_seconds)."
        )

    def peek(self, upto: Lsn, changes: int, *, pipeline: Pipeline) -> Generator[bytes]:
        """Yield messages of pgoutput, of whole transactions only.

        :param upto: the position at which reading ends
        :param changes: the number of messages after which it ends, at the end of a transaction
        :param pipeline: behind whose position it begins
        :raises StateError: where the log does not tell all changes
        """
        if self._shapes is None:
            raise RuntimeError("Tables are looked up before their changes are read.")
        folds_case = self._server is not None and self._server.folds_case
        self._prepared = set(pipeline.metadata.get(_PREPARED, ()))
        retelling = Retelling(
            self._shapes, self._keys, pipeline.applied, self.noticed, self._prepared, folds_case=folds_case
        )
        with self._explaining("read", pipeline):
            if pipeline.applied > upto:
                raise self.lost(pipeline)
            with closing(self._whole_log().events(pipeline.applied)) as events:
                yield from retelling.messages(self._of_the_same_log(events, pipeline), upto, changes)

    def remembered(self) -> Mapping[str, Any]:
        """When the file was begun in which the last changes were, and what XA has prepared."""
        return {**self._file, _PREPARED: sorted(self._prepared)}

    def advance(self, to: Lsn) -> None:
        """Note what is applied; the server keeps its log for a time, whoever has read it."""
        self._acknowledged = max(self._acknowledged, to)

    def health(self) -> LogHealth:
        """How far the log goes behind what was acknowledged."""
        with self._connected("look at") as connection:
            newest, files = self._look(connection), read_files(connection)
        since = self._acknowledged or newest
        lag = sum(each.behind(since) for each in files)
        return LogHealth(
            retained_bytes=None,
            lag_bytes=lag,
            lag_seconds=None if lag else 0.0,
            wal_status="kept for a time",
            is_active=False,
        )

    def wait_until_visible(self) -> None:
        """Wait until a new snapshot sees all that the log has told by now.

        :raises SourceError: (retryable) where that takes too long
        """
        with self._connected("wait for transactions that are in") as connection:
            written = self._look(connection)
            wait_until_visible(connection, written, is_mariadb=self._known_server(connection).is_mariadb)

    def written(self) -> tuple[Lsn, str]:
        """How far the log is written, and the server's time of then as text in UTC."""
        with self._connected("ask for the position of") as connection:
            return self._look(connection), f"{connection.execute(sql.READ_CLOCK).scalar_one()}+00"

    def table(self, key: str, table: CdcTable) -> tuple[WholeTable, Stream]:
        """A table as a stream that is read whole."""
        stream = Stream(sync_key=key, cursor_field=table.key[0], table=table.source, primary_key=table.key)
        return WholeTable(self.access, stream), stream

    def _begin_to_read(self, connection: Connection, newest: Lsn) -> None:
        """Read what tells of the newest file: so a log that is begun anew before the first batch is another one."""
        self._look(connection)
        with closing(read_events(self.access, self._base, newest)) as events:
            self._remember_file(next(each for each in events if each.kind == Kind.FORMAT))

    def _whole_log(self) -> WholeLog:
        if self._whole is None or self._whole.base != self._base:
            self._whole = WholeLog(self.access, self._base, self._files)
        return self._whole

    def _files(self) -> list[int]:
        with self._connected("ask for the files of") as connection:
            return [file_number(each.begins) for each in read_files(connection)]

    def _look(self, connection: Connection) -> Lsn:
        file, position = read_newest(connection, self._known_server(connection))
        self._base = base_of(file)
        return position

    def _known_server(self, connection: Connection) -> Server:
        if self._server is None:
            self._server = read_server(connection)
        return self._server

    def _of_the_same_log(self, events: Iterable[Event], pipeline: Pipeline) -> Iterator[Event]:
        """The events, as long as the server has not begun its log anew.

        :raises StateError: where it has
        """
        before = pipeline.metadata
        for event in events:
            if event.kind == Kind.FORMAT:
                self._remember_file(event)
                if before.get(_FILE) == self._file.get(_FILE) and before.get(_FILE_BEGAN) != self._file[_FILE_BEGAN]:
                    raise self.lost(pipeline)
            yield event

    def _remember_file(self, event: Event) -> None:
        self._file = {_FILE: file_number(event.position), _FILE_BEGAN: event.second}

    @contextmanager
    def _connected(self, doing: str) -> Iterator[Connection]:
        with self._explaining(doing), self.access.look() as connection:
            yield connection

    @contextmanager
    def _explaining(self, doing: str, pipeline: Pipeline | None = None) -> Iterator[None]:
        with explaining(SourceError, f"{doing} the binary log", fault_in):
            try:
                yield
            except Exception as error:
                number, *text = getattr(error, "args", ()) or (0,)
                if pipeline is None or number != _CANNOT_READ:
                    raise
                if any(each in str(text) for each in _IS_GONE):
                    raise self.lost(pipeline) from None
                raise SourceError(f"The server cannot read its own binary log: {text[0]}") from None
