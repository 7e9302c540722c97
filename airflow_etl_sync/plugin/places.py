"""The databases that keep state: all read at the same time, and one that does not answer holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.state import overview
from airflow_etl_sync.state.overview import SyncState

if TYPE_CHECKING:
    from airflow_etl_sync.cdc.slot import SlotHealth
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
class Capture:
    """How a replication slot is, or one sentence on why it cannot be seen."""

    health: SlotHealth | None = None
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


def read_captures(slots: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Capture]:
    """How replication slots are.

    :param slots: the connection of the source, and the slot's name
    """
    asked = list(slots)
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


def _look_at(place: tuple[str, str]) -> Capture:
    from airflow_etl_sync.cdc.slot import ReplicationSlot
    from airflow_etl_sync.hooks.connections import postgres_access

    conn_id, slot = place
    try:
        return Capture(ReplicationSlot(postgres_access(conn_id).hasty(), slot, slot).health())
    except EtlSyncError as error:
        return Capture(trouble=str(error))
