"""Commits that the log tells before readers see them: a commit is in the log a moment before its rows are visible."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.binlog import sql
from airflow_etl_sync.cdc.binlog.positions import position_of
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy import Connection

LONGEST_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_OLD_SECONDS = 0.15
"""InnoDB tells of transactions what it told a moment ago, as long as it is asked again within 0.1 s."""


def wait_until_visible(connection: Connection, written: Lsn, *, is_mariadb: bool) -> None:
    """Wait until a new snapshot sees all that the log has told up to a position.

    MariaDB tells of each snapshot where in the log it is; elsewhere every transaction that is in flight now is waited
    for, since the log has told of no other that is not visible.

    :param connection: one in autocommit mode
    :raises SourceError: (retryable) where that takes longer than :data:`LONGEST_WAIT_SECONDS`
    """
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    in_flight = set() if is_mariadb else _transactions(connection)
    while not _is_visible(connection, written) if is_mariadb else in_flight & _transactions(connection):
        if time.monotonic() > deadline:
            raise SourceError(
                "A transaction that was in flight on the source when the copy was to begin has not ended within "
                f"{LONGEST_WAIT_SECONDS:.0f} s, and what it has committed may not be visible yet: a retry waits again."
            )
        time.sleep(_PAUSE_SECONDS)


def _is_visible(connection: Connection, written: Lsn) -> bool:
    connection.execute(sql.BEGIN_SNAPSHOT)
    told: dict[str, Any] = {name.lower(): value for name, value in connection.execute(sql.READ_SNAPSHOT)}
    connection.exec_driver_sql("COMMIT")  # not where that fails: the connection is closed then, and maybe lost
    return position_of(told["binlog_snapshot_file"], int(told["binlog_snapshot_position"])) >= written


def _transactions(connection: Connection) -> set[str]:
    time.sleep(_OLD_SECONDS)
    return {str(number) for number in connection.execute(sql.READ_TRANSACTIONS).scalars()}
