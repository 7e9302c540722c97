"""What a source shows of its slot, its publications and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import relation_name

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, slots=True)
class SlotState:
    """A logical slot as the server shows it.

    :param database: the one that it belongs to; a physical slot belongs to none
    :param active_pid: the server process that reads it now
    :param wal_status: ``reserved``, ``extended``, ``unreserved`` or ``lost``
    :param confirmed: what lies before this position is acknowledged
    :param retained_bytes: how much WAL the server keeps for it
    :param lag_bytes: how much WAL lies behind the confirmed position
    """

    is_logical: bool
    plugin: str | None
    database: str | None
    active_pid: int | None
    wal_status: str
    confirmed: int | None
    retained_bytes: int | None
    lag_bytes: int | None


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication.

    :param is_whole: whether it publishes inserts, updates, deletes and truncates
    :param is_maybe_late: whether it may have been made after the slot
    :param is_ours: whether this package made it
    """

    name: str
    is_whole: bool
    is_maybe_late: bool
    is_ours: bool


@dataclass(frozen=True, slots=True)
class TableState:
    """A table whose changes are wanted.

    :param is_publishable: whether it is one whose rows are written to the log
    :param is_identified: whether updates and deletes tell which row they change, in every partition
    :param has_deferrable_key: whether its primary key is DEFERRABLE
    :param told_as_partitions_by: a publication that tells changes of its partitions as such
    """

    table: TableName
    exists: bool
    is_publishable: bool
    is_published: bool
    is_identified: bool
    is_readable: bool
    has_deferrable_key: bool
    told_as_partitions_by: str | None


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and what the connection's role may do there.

    :param may_replicate: whether it may use replication slots
    :param version: the major version
    :param has_feedback: whether a standby keeps its primary from removing rows that it needs
    """

    database: str
    user: str
    wal_level: str
    max_slots: int
    slots: int
    may_replicate: bool
    is_standby: bool
    version: int
    has_feedback: bool


def read_server(connection: psycopg.Connection[Any]) -> Server:
    """The server that one is connected to."""
    row: Any = connection.execute(sql.READ_SERVER).fetchone()
    return Server(*row)


def read_slot(connection: psycopg.Connection[Any], slot: str) -> SlotState | None:
    """A slot's state; None where there is none of that name."""
    row = connection.execute(sql.READ_SLOT, {"slot": slot}).fetchone()
    return SlotState(*row) if row else None


def read_publications(
    connection: psycopg.Connection[Any], slot: str, publications: Sequence[str]
) -> tuple[Publication, ...]:
    """Those of some publications that there are."""
    named = {"slot": slot, "publications": list(publications), "mark": sql.MARK}
    return tuple(Publication(*each) for each in connection.execute(sql.READ_PUBLICATIONS, named))


def read_tables(
    connection: psycopg.Connection[Any], publications: Sequence[str], tables: Sequence[TableName]
) -> tuple[TableState, ...]:
    """The state of each table, in their order."""
    named = {"relations": [relation_name(table) for table in tables], "publications": list(publications)}
    rows = connection.execute(sql.READ_TABLES, named).fetchall() if tables else []
    return tuple(TableState(table, *row) for table, row in zip(tables, rows, strict=True))
