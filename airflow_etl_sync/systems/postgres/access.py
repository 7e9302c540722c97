"""How a PostgreSQL database is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    from adbc_driver_manager.dbapi import Connection as AdbcConnection
    from psycopg.rows import TupleRow
    from sqlalchemy import Engine

APPLICATION_NAME = "airflow-etl-sync"


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """One database and the login to it.

    :param conninfo: a libpq connection string or URI; never shown, since it holds the password
    """

    conninfo: str = field(repr=False)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A psycopg connection in autocommit mode: each statement sees the newest state."""
        import psycopg

        from airflow_etl_sync.systems.postgres.sql import PIN_DATES

        connection = psycopg.connect(self._named(), autocommit=True)
        connection.execute(PIN_DATES)
        return connection

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

        connection: AdbcConnection = adbc_driver_postgresql.dbapi.connect(self._named())
        return connection

    def _named(self) -> str:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        given = conninfo_to_dict(self.conninfo)
        defaults = {"application_name": APPLICATION_NAME, "connect_timeout": "10"}
        return make_conninfo(self.conninfo, **{name: value for name, value in defaults.items() if name not in given})
