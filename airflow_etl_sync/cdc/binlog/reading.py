"""A session that reads a binary log, through the library ``mysql-replication``."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.binlog.positions import place_of, position_of
from airflow_etl_sync.cdc.binlog.retelling import Told
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import ConfigurationError, SourceError, StateError

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_etl_sync.systems.database.access import DatabaseAccess

_FIRST_SERVER_ID, _LAST_SERVER_ID = 2**31, 2**32 - 1
"""Readers are told apart by a number that no server has: administrators give theirs small ones."""

_PATIENCE = "SET SESSION net_write_timeout = 86400"
"""While changes are applied, the server waits to be read from."""


def read_events(access: DatabaseAccess, base: str, after: Lsn, tables: Collection[str]) -> Generator[Told]:
    """The events of the log from a position on, until its end.

    :param base: what the names of the log's files begin with
    :param after: the end of an event
    :param tables: those, without schema, whose rows are wanted
    """
    file, place = place_of(base, after)
    with _stream(access, file, place, tables) as stream:
        reached = after
        for event in stream:
            position = position_of(stream.log_file, stream.log_pos)
            if position < reached:
                raise StateError(
                    f"The file {stream.log_file} of the log is larger than 4 GiB, so positions in it cannot be told: "
                    "run once with resync, and keep transactions smaller."
                )
            reached = position
            yield Told(event, position)


@contextmanager
def _stream(access: DatabaseAccess, file: str, place: int, tables: Collection[str]) -> Iterator[Any]:
    from pymysqlreplication import BinLogStreamReader

    reader = BinLogStreamReader(
        {},
        server_id=_FIRST_SERVER_ID + secrets.randbelow(_LAST_SERVER_ID - _FIRST_SERVER_ID),
        log_file=file,
        log_pos=place,
        resume_stream=True,
        only_tables=list(tables),
        filter_non_implemented_events=False,
        enable_logging=False,
        pymysql_wrapper=_Connecting(access),
    )
    with closing(reader):
        yield reader


class _Connecting:
    """Gives the library its two connections; where one is lost it would begin anew in the middle of a transaction."""

    def __init__(self, access: DatabaseAccess) -> None:
        self._access = access
        self._given = 0

    def __call__(self, *, cursorclass: type[Any] | None = None, **_: Any) -> Any:
        self._given += 1
        if self._given > 2:
            raise SourceError("The connection to the binary log was lost: a retry goes on where the last one ended.")
        proxied = self._access.make_engine().raw_connection()
        connection: Any = proxied.driver_connection
        proxied.detach()
        connection.autocommit_mode = True
        connection.autocommit(connection.autocommit_mode)
        if cursorclass is not None:
            connection.cursorclass = cursorclass
        with connection.cursor() as cursor:
            cursor.execute(_PATIENCE)
        return connection


def require_library() -> None:
    """:raises ConfigurationError: where the library is not installed"""
    try:
        import pymysqlreplication  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "Binary logs are read through mysql-replication, which is not installed: pip install "
            "'airflow-etl-sync[mysql]'."
        ) from None
