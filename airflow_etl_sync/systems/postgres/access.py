"""How a PostgreSQL database is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_etl_sync.faults import not_ready
from airflow_etl_sync.systems.patience import Patience

if TYPE_CHECKING:
    import psycopg
    from adbc_driver_manager.dbapi import Connection as AdbcConnection
    from psycopg.rows import TupleRow
    from sqlalchemy import Connection as SqlAlchemyConnection
    from sqlalchemy import Engine

APPLICATION_NAME = "airflow-etl-sync"
CONNECT_SECONDS = 30.0
"""For so long a server that is not ready, such as one that restarts, is asked for a connection again."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 8.0

NOTICE_DEATH = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""With these options of libpq the system notices within a minute that a connection's other end is gone."""

_ENCODING = {"client_encoding": "UTF8"}
"""A session speaks its database's encoding unless it is told, and Arrow and pgoutput are read as UTF-8."""

_Connection = TypeVar("_Connection")


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """One database and the login to it.

    :param conninfo: a libpq connection string or URI; never shown, since it holds the password
    :param patience_seconds: for so long a server that is not ready is asked again; by default :data:`CONNECT_SECONDS`
    :param lock_seconds: for so long a statement of psycopg or SQLAlchemy waits for a lock; None leaves it to the server
    """

    conninfo: str = field(repr=False)
    patience_seconds: float | None = None
    lock_seconds: float | None = None

    def hasty(self, connect_seconds: int = 3, lock_seconds: float = 10) -> PostgresAccess:
        """The same database for somebody who waits at a screen: one short attempt to connect, and no long wait."""
        from psycopg.conninfo import make_conninfo

        conninfo = make_conninfo(self.conninfo, connect_timeout=str(connect_seconds))
        return PostgresAccess(conninfo, patience_seconds=0, lock_seconds=lock_seconds)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A psycopg connection in autocommit mode: each statement sees the newest state.

        This and the ways below but one wait for a server that is not ready, see :data:`CONNECT_SECONDS`.
        """
        import psycopg

        from airflow_etl_sync.systems.postgres.sql.sessions import LIMIT_LOCKS, PIN_DATES

        connection = self._patiently(lambda: psycopg.connect(self._named(**_ENCODING), autocommit=True))
        connection.execute(PIN_DATES)
        if self.lock_seconds is not None:
            connection.execute(LIMIT_LOCKS, {"lock": f"{self.lock_seconds * 1000:.0f}ms"})
        return connection

    async def connect_async(self) -> psycopg.AsyncConnection[TupleRow]:
        """A connection in autocommit mode to wait on, as a trigger does: it notices when its other end is gone.

        A server that is not ready is not waited for, and the session's settings are the server's.
        """
        import psycopg

        return await psycopg.AsyncConnection.connect(self._named(**NOTICE_DEATH), autocommit=True)

    def engine(self) -> Engine:
        """A SQLAlchemy engine without a pool: a task's connection ends with its work."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        def connect() -> Any:
            connection = self.connect()
            connection.autocommit = False
            return connection

        return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)

    def adbc(self) -> AdbcConnection:
        """An ADBC connection, for rows in bulk; its transaction ends with ``commit`` or ``close``."""
        import adbc_driver_postgresql.dbapi

        connect: Callable[[], AdbcConnection] = partial(adbc_driver_postgresql.dbapi.connect, self._named(**_ENCODING))
        return self._patiently(connect)

    def _patiently(self, connect: Callable[[], _Connection]) -> _Connection:
        seconds = CONNECT_SECONDS if self.patience_seconds is None else self.patience_seconds
        return Patience("PostgreSQL", not_ready, seconds, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS).connect(connect)

    def _named(self, **more: str) -> str:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        given = conninfo_to_dict(self.conninfo)
        defaults = {"application_name": APPLICATION_NAME, "connect_timeout": "10", **more}
        missing = {name: value for name, value in defaults.items() if name not in given}
        return make_conninfo(self.conninfo, **missing)


def driver_of(connection: SqlAlchemyConnection) -> psycopg.Connection[Any]:
    """The psycopg connection beneath one of :meth:`PostgresAccess.engine`, in the same transaction."""
    return connection.connection.driver_connection  # type: ignore[return-value]
