"""Everything that is asked of a source's replication slot."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.change_log import LogHealth, TornDown
from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.cdc.postgres.preflight import Examined, Finding, examine, late, missing
from airflow_etl_sync.cdc.postgres.relation_types import TypedRelation, read_relation_types
from airflow_etl_sync.cdc.postgres.reselect import look_up
from airflow_etl_sync.cdc.postgres.source_state import read_slot
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.changes import Lsn, lsn_text
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import LONGEST_NAME_BYTES, TableName
from airflow_etl_sync.errors import ConfigurationError, SourceError, StateError, explaining
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Buffer
    from psycopg.errors import Diagnostic
    from psycopg.sql import SQL

_SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}", re.ASCII)
_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"
_VALUE = 6
"""Where the only value of a row begins: behind the number of values, and its length."""
_IN_USE, _UNDEFINED, _NOT_IN_STATE = "55006", "42704", "55000"


class ReplicationSlot:
    """A logical slot of a PostgreSQL database, read in bounded batches by its SQL functions.

    :param access: the database whose changes are read; its role may replicate
    :param slot: the slot's name, unique on the server
    :param publication: the publication's name, or several; the first is the one that set-up makes and extends
    :raises ConfigurationError: for names that no slot or publication can have
    """

    def __init__(self, access: PostgresAccess, slot: str, publication: str | tuple[str, ...]) -> None:
        self._access = access
        self.slot = slot
        self.noticed: tuple[str, ...] = ()
        self.publications = (publication,) if isinstance(publication, str) else tuple(publication)
        _refuse_slot_name(slot)
        _refuse_publications(self.publications)

    @property
    def name(self) -> str:
        """The log's name in the state tables."""
        return self.slot

    def text(self, position: Lsn) -> str:
        """A position as PostgreSQL writes it."""
        return lsn_text(position)

    def preflight(self, tables: Sequence[TableName] = ()) -> list[Finding]:
        """What is amiss, in the order in which it is to be mended; nothing is changed.

        :param tables: those whose changes are wanted
        """
        with self._connected("look at") as connection:
            examined = examine(connection, self.slot, self.publications, tables)
        return [*examined.findings, *self._probed(examined)]

    def set_up(self, tables: Sequence[TableName]) -> Lsn:
        """Make the publication, then the slot; what is there already is left, and lacking tables are added.

        A table that is added while the slot exists is to be copied after this call.

        :return: the position from which on the slot gives changes
        :raises EtlSyncError: for what cannot be mended here, before anything is changed
        """
        if not tables:
            raise ConfigurationError("Name at least one table whose changes are wanted.")
        with self._connected("set up") as connection:
            examined = examine(connection, self.slot, self.publications, tables)
            examined.refuse(setting_up=True)
            connection.execute(sql.BE_PATIENT)
            with _explaining_waits():
                self._publish(connection, examined, tables)
                self._create(connection, examined)
            return _confirmed(self.slot, connection)

    def tear_down(self) -> TornDown:
        """Drop the slot, then the publication, where this package made it. What is gone already is no error.

        On a standby the publication is left, since only its primary can drop it.

        :raises ConfigurationError: where the slot belongs to something else
        :raises SourceError: where someone reads it now
        """
        with self._connected("tear down") as connection:
            examined = examine(connection, self.slot, self.publications, ())
            for finding in examined.findings:
                if finding.code in ("slot_plugin", "slot_elsewhere"):
                    raise finding.as_error()
            if examined.slot:
                connection.execute(sql.DROP_SLOT, {"slot": self.slot})
            ours = [each.name for each in examined.publications if each.is_ours and not examined.is_standby]
            for name in ours:
                connection.execute(sql.drop_publication(name))
            return TornDown(examined.slot is not None, bool(ours))

    def flushed(self) -> Lsn:
        """The position up to which the server has written its log to disk; a standby: has replayed it."""
        with self._connected("ask for the position of") as connection:
            row: Any = connection.execute(sql.READ_FLUSHED).fetchone()
            return int(row[0])

    def beginning(self, confirmed: Lsn, flushed: Lsn) -> Lsn:  # noqa: ARG002 - the seam's signature
        """A stream begins where the slot stands."""
        return confirmed

    def look_up(self, tables: Sequence[CdcTable]) -> list[SourceTable]:
        """Find the tables at the source.

        :raises SchemaError: where one is missing, or has no key
        """
        return look_up(self._access, tables)

    def confirmed(self) -> Lsn:
        """The position up to which changes are acknowledged.

        :raises StateError: where there is no such slot
        """
        with self._connected("ask for the position of") as connection:
            return _confirmed(self.slot, connection)

    def peek(
        self,
        upto: Lsn,
        changes: int,
        *,
        pipeline: Pipeline | None = None,  # noqa: ARG002 - the seam's signature
    ) -> Generator[bytes]:
        """Yield messages of pgoutput, of whole transactions only, and leave them in the slot.

        The server decodes all of them before it gives the first, and is free for others' reading from then on;
        here no more than a few are held. Close the generator where it is left before its end.

        :param upto: the position at which reading ends
        :param changes: the number of messages after which reading ends, at the end of a transaction
        :param pipeline: not needed: the slot has a position of its own
        :raises StateError: where changes are lost, which asks for a resync
        :raises SourceError: where another session reads the slot
        """
        return self._peek(upto, changes, sql.LET_IT_LAST)

    def advance(self, to: Lsn) -> None:
        """Acknowledge what lies before a position; a position that is acknowledged already changes nothing.

        :raises StateError: where there is no such slot, or it is lost
        """
        with self._connected("advance") as connection:
            examine(connection, self.slot, (), ()).refuse()
            connection.execute(sql.ADVANCE, {"slot": self.slot, "to": lsn_text(to)})

    def remembered(self) -> Mapping[str, Any]:
        """Nothing: the server keeps what there is to remember."""
        return {}

    def lost(self, pipeline: Pipeline, confirmed: Lsn) -> StateError:
        """What is said of a slot that is ahead of what is applied."""
        return StateError(
            f"The replication slot {self.slot!r} stands at {lsn_text(confirmed)}, and the changes of "
            f"{pipeline.sync_key!r} are applied up to {lsn_text(pipeline.applied)} only: it was made anew, or "
            "something else has read it, and what lies between is lost. Run once with resync, which copies the "
            "tables afresh, and then reconcile those that are no histories to remove what was deleted meanwhile."
        )

    def health(self) -> LogHealth:
        """How the slot is.

        :raises StateError: where there is no such slot
        """
        with self._connected("look at") as connection:
            state = read_slot(connection, self.slot)
        if state is None:
            raise missing(self.slot).as_error()
        lag = max(state.lag_bytes or 0, 0)
        return LogHealth(
            retained_bytes=max(state.retained_bytes or 0, 0),
            lag_bytes=lag,
            lag_seconds=None if lag else 0.0,
            wal_status=state.wal_status,
            is_active=state.active_pid is not None,
        )

    def relation_types(self, relations: Iterable[TypedRelation]) -> dict[int, dict[str, ColumnTypes]]:
        """The types of relations' columns, by the relation's id and the column's name.

        A type that was dropped since the change was made is text.
        """
        with self._connected("ask for the types of") as connection:
            return read_relation_types(connection, relations)

    def _peek(self, upto: Lsn, changes: int, timeout: SQL) -> Generator[bytes]:
        with self._connected("read") as connection:
            examine(connection, self.slot, self.publications, ()).refuse()
            skipped = _skipped_publications(connection)
            _prepare(connection, timeout)
            statement = sql.peek(self.slot, lsn_text(upto), changes, self.publications)
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for message in _values(copy):
                    if skipped:
                        break
                    yield message
            if skipped:
                raise late(self.publications).as_error()

    def _probed(self, examined: Examined) -> list[Finding]:
        """Whether the slot holds changes from before its publication: only decoding them tells for sure."""
        if not any(each.is_maybe_late for each in examined.publications):
            return []
        if any(finding.is_error for finding in examined.findings if not finding.code.startswith("table_")):
            return []
        with suppress(SourceError):
            try:
                with closing(self._peek(self.flushed(), 1, sql.GIVE_UP_SOON)) as messages:
                    next(messages, None)
            except StateError:
                return [late(self.publications)]
        return []

    def _publish(self, connection: psycopg.Connection[Any], examined: Examined, tables: Sequence[TableName]) -> None:
        name = self.publications[0]
        if name not in {each.name for each in examined.publications}:
            with connection.transaction():
                connection.execute(sql.create_publication(name, tables))
                connection.execute(sql.mark_publication(name))
            return
        lacking = [each.table for each in examined.tables if not each.is_published]
        if lacking:
            connection.execute(sql.publish(name, lacking))

    def _create(self, connection: psycopg.Connection[Any], examined: Examined) -> None:
        if examined.slot is None:
            if examined.is_standby:
                connection.execute(sql.GIVE_UP_ON_A_QUIET_PRIMARY)
            connection.execute(sql.CREATE_SLOT, {"slot": self.slot})

    @contextmanager
    def _connected(self, doing: str) -> Generator[psycopg.Connection[Any]]:
        import psycopg

        with (
            explaining(SourceError, f"{doing} the replication slot {self.slot!r}"),
            closing(self._access.connect()) as connection,
        ):
            try:
                yield connection
            except psycopg.Error as error:
                told = self._told(error.sqlstate)
                if told is None:
                    raise
                raise told from None

    def _told(self, sqlstate: str | None) -> Exception | None:
        """What an error's code means for a slot, beyond what it means everywhere."""
        if sqlstate == _IN_USE:
            return SourceError(
                f"The replication slot {self.slot!r} is being read by another session: try again when it is done.",
                sqlstate=sqlstate,
            )
        if sqlstate not in (_UNDEFINED, _NOT_IN_STATE):
            return None
        with closing(self._access.connect()) as connection:
            for finding in examine(connection, self.slot, self.publications, ()).findings:
                if finding.is_error:
                    return finding.as_error()
        return late(self.publications).as_error() if sqlstate == _UNDEFINED else None


def _values(copy: Iterable[Buffer]) -> Iterator[bytes]:
    """The values of a COPY in binary format with one column, none of which is NULL."""
    for row in copy:
        data = bytes(row).removeprefix(_COPY_BEGINS)
        if data and data != _COPY_ENDS:
            yield data[_VALUE:]


def _confirmed(slot: str, connection: psycopg.Connection[Any]) -> Lsn:
    state = read_slot(connection, slot)
    if state is None or state.confirmed is None:
        raise missing(slot).as_error()
    return state.confirmed


def _prepare(connection: psycopg.Connection[Any], timeout: SQL) -> None:
    import psycopg

    connection.execute(sql.pin_settings())
    connection.execute(timeout)
    with suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
        connection.execute(sql.CHECK_FOR_A_LOST_READER)


def _skipped_publications(connection: psycopg.Connection[Any]) -> list[str]:
    """A list that fills when the server passes changes over because there was no publication yet.

    PostgreSQL 18 and later only warn of it and skip them; others fail.
    """
    skipped: list[str] = []

    def note(diagnostic: Diagnostic) -> None:
        if diagnostic.sqlstate in (_UNDEFINED, _NOT_IN_STATE):
            skipped.append(diagnostic.sqlstate)

    connection.add_notice_handler(note)
    return skipped


@contextmanager
def _explaining_waits() -> Generator[None]:
    import psycopg

    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise SourceError(
            "A transaction in the source stays open, and a new slot must wait for all that write: try again when "
            "it has ended (see pg_stat_activity, and pg_prepared_xacts).",
            sqlstate=error.sqlstate,
        ) from None
    except psycopg.errors.QueryCanceled as error:
        raise SourceError(
            "A new slot on a standby waits for its primary to write, which it did not: run "
            "SELECT pg_log_standby_snapshot() on the primary while this is tried again.",
            sqlstate=error.sqlstate,
        ) from None


def _refuse_slot_name(slot: str) -> None:
    if not _SLOT_NAME.fullmatch(slot):
        raise ConfigurationError(
            f"{slot[:80]!r} cannot be the name of a replication slot: use 1 to 63 of a-z, 0-9 and underscore."
        )


def _refuse_publications(names: Sequence[str]) -> None:
    if not names or any(not name or "\0" in name or len(name.encode()) > LONGEST_NAME_BYTES for name in names):
        raise ConfigurationError(f"The name of a publication must have 1 to {LONGEST_NAME_BYTES} bytes.")
