"""Commits that the log tells before readers see them.

A commit is in the log, and can be decoded, a moment before its rows are visible; under synchronous replication that
moment lasts until the standby answers. A reader that is to see all that the log has told must wait.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc import sql
from airflow_etl_sync.errors import SourceError, explaining

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import SQL

    from airflow_etl_sync.systems.postgres.access import PostgresAccess

LONGEST_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.05


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


def _number(connection: psycopg.Connection[Any], query: SQL) -> int:
    row: Any = connection.execute(query).fetchone()
    return int(row[0])
