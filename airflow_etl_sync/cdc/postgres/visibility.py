"""Commits that the log tells before readers see them.

A commit is in the log, and can be decoded, a moment before its rows are visible; under synchronous replication that
moment lasts until the standby answers. A reader that is to see all that the log has told must wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.errors import SourceError, explaining

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import SQL, Composed

    from airflow_etl_sync.core.changes import Lsn
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

LONGEST_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_XIDS = 2**32


def wait_until_visible(source: PostgresAccess) -> None:
    """Wait until every transaction that has begun by now has ended, so that all commits told so far are visible.

    :raises SourceError: (retryable) where one goes on for longer than :data:`LONGEST_WAIT_SECONDS`
    """
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    with explaining(SourceError, "wait for transactions in flight"), closing(source.connect()) as connection:
        following = _number(connection, sql.BEGIN_AFTER_ALL)
        while _number(connection, sql.READ_OLDEST) < following:
            if time.monotonic() > deadline:
                raise SourceError(
                    "A transaction that was in flight on the source when the copy was to begin has not ended within "
                    f"{LONGEST_WAIT_SECONDS:.0f} s, and what it has committed may not be visible yet: a retry "
                    "waits again."
                )
            time.sleep(_PAUSE_SECONDS)


def wait_until_seen(connection: psycopg.Connection[Any], xids: Collection[int]) -> None:
    """Wait until a new snapshot of the connection sees what committed transactions have done.

    :param xids: the transactions, by the 32 bits that the log has of their numbers
    :raises SourceError: where that takes longer than :data:`LONGEST_WAIT_SECONDS`
    """
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while xids:
        row: Any = connection.execute(sql.READ_SNAPSHOT).fetchone()
        next_xid, running = row
        hidden = {xid % _XIDS for xid in running}
        if not any(xid in hidden or (xid - next_xid) % _XIDS < _XIDS // 2 for xid in xids):
            return
        if time.monotonic() > deadline:
            raise SourceError(
                f"Transactions that are committed in the log cannot be seen after {LONGEST_WAIT_SECONDS:.0f} s: they "
                "wait for a synchronous standby. Bring it back, or take it out of synchronous_standby_names."
            )
        time.sleep(_PAUSE_SECONDS)


def read_written(connection: psycopg.Connection[Any]) -> Lsn:
    """How far the log is written: behind everything that the connection has seen by now."""
    return _number(connection, sql.READ_WRITTEN)


def read_written_at(connection: psycopg.Connection[Any]) -> tuple[Lsn, str]:
    """How far the log is written, and the server's time of then as text in UTC."""
    row: Any = connection.execute(sql.READ_WRITTEN_AT).fetchone()
    return int(row[0]), str(row[1])


def _number(connection: psycopg.Connection[Any], query: SQL | Composed) -> int:
    row: Any = connection.execute(query).fetchone()
    return int(row[0])
