"""The databases that keep state: all read at the same time, and one that does not answer holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_etl_sync.core.changes import lsn_of
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.state import overview
from airflow_etl_sync.state.overview import SyncState

if TYPE_CHECKING:
    from airflow_etl_sync.cdc.change_log import LogHealth
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

_AT_ONCE = 8

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Place:
    """A database that keeps state, or one sentence on why it cannot be read.

    :param database: the same for all connections that lead to it
    """

    conn_id: str
    database: str
    syncs: Sequence[SyncState] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class CapturedLog:
    """A log that is read.

    :param conn_id: the connection of the source
    :param name: the slot's name; of a binary log the log's own
    :param position: up to where its changes are applied
    """

    conn_id: str
    name: str
    position: str


@dataclass(frozen=True, slots=True)
class Capture:
    """How a log is, or one sentence on why it cannot be seen."""

    health: LogHealth | None = None
    trouble: str | None = None


def access_of(conn_id: str) -> PostgresAccess:
    """The way into the database that keeps state, for somebody who waits at a screen.

    :raises ConfigurationError: where there is no such connection, it cannot be used, or it keeps no state
    """
    from airflow_etl_sync.hooks.destinations import state_access

    return state_access(conn_id).hasty()


def read_places(conn_ids: Iterable[str], at_most_runs: int) -> list[Place]:
    """All syncs of all databases, each database in a thread of its own."""
    return _side_by_side(partial(_read, at_most_runs=at_most_runs), list(conn_ids))


def read_captures(logs: Iterable[CapturedLog]) -> dict[CapturedLog, Capture]:
    """How logs are."""
    asked = list(logs)
    return dict(zip(asked, _side_by_side(_look_at, asked), strict=True))


def _side_by_side(read: Callable[[_Asked], _Found], asked: Sequence[_Asked]) -> list[_Found]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(read, asked))


def _read(conn_id: str, at_most_runs: int) -> Place:
    try:
        with overview.reading(access_of(conn_id).engine()) as connection:
            database = overview.identity_of(connection)
            return Place(conn_id, database, overview.all_syncs(connection, at_most_runs))
    except overview.NothingRecordedError:
        return Place(conn_id, conn_id)
    except EtlSyncError as error:
        return Place(conn_id, conn_id, trouble=str(error))


def _look_at(log: CapturedLog) -> Capture:
    from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
    from airflow_etl_sync.hooks.connections import postgres_access
    from airflow_etl_sync.hooks.logs import is_mysql
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook

    try:
        if is_mysql(log.conn_id):
            binary_log = MysqlCdcHook(log.conn_id).change_log()
            binary_log.advance(lsn_of(log.position))
            return Capture(binary_log.health())
        return Capture(ReplicationSlot(postgres_access(log.conn_id).hasty(), log.name, log.name).health())
    except EtlSyncError as error:
        return Capture(trouble=str(error))
