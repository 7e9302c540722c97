"""From a connection in Airflow's UI to the source behind it, whichever system that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access, require_connection

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Stream
    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.database.source import DatabaseSource
    from airflow_etl_sync.systems.postgres.source import PostgresSource

_MYSQL_OPTIONS = frozenset(
    {"ssl", "unix_socket", "read_timeout", "write_timeout", "connect_timeout", "server_public_key"}
)
_OTHER_DRIVERS_OPTIONS = frozenset(
    {"charset", "cursor", "client", "allow_local_infile", "local_infile", "init_command"}
)
"""What Airflow's own hook takes for drivers of its own, and has no meaning here."""


def source_of(conn_id: str, stream: Stream) -> PostgresSource | DatabaseSource:
    """Give the source that an Airflow connection leads to; its type decides which system that is.

    :param conn_id: the id of a connection of type ``postgres``, ``mysql``, ``sqlite``, or of one whose hook speaks
        SQLAlchemy
    :raises ConfigurationError: where there is no such connection, or it cannot be used
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type in ("postgres", CDC_TYPE):
        from airflow_etl_sync.systems.postgres.source import PostgresSource

        return PostgresSource(postgres_access(conn_id), stream)
    from airflow_etl_sync.systems.database.source import DatabaseSource

    makers = {"mysql": _mysql, "sqlite": _sqlite}
    return DatabaseSource(makers.get(str(connection.conn_type), _by_hook)(conn_id, connection), stream)


def _mysql(conn_id: str, connection: Any) -> DatabaseAccess:
    """Give the way into MySQL, of the connection's own fields: Airflow's hook for it needs a driver in C."""
    from airflow_etl_sync.systems.database.access import mysql_access

    extra = connection.extra_dejson
    options = {name: value for name, value in extra.items() if name not in _OTHER_DRIVERS_OPTIONS and value is not None}
    unknown = sorted(options.keys() - _MYSQL_OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"The extra of the connection {conn_id!r} holds {', '.join(map(repr, unknown))}, which is not taken here: "
            f"use {', '.join(sorted(_MYSQL_OPTIONS))}."
        )
    if isinstance(options.get("ssl"), str):
        options["ssl"] = _parsed(conn_id, options["ssl"])
    return mysql_access(
        host=connection.host or "localhost", port=int(connection.port or 3306), login=connection.login,
        password=connection.password, database=connection.schema, options=options,
    )  # fmt: skip


def _parsed(conn_id: str, ssl: str) -> Any:
    try:
        return json.loads(ssl)
    except ValueError:
        raise ConfigurationError(f"The extra 'ssl' of the connection {conn_id!r} is not JSON: correct it.") from None


def _sqlite(conn_id: str, connection: Any) -> DatabaseAccess:
    """Give the way into a file, whose path is the connection's host, as it is for Airflow's own hook."""
    from airflow_etl_sync.systems.database.access import sqlite_access

    path = Path(connection.host or connection.schema or "")
    if not path.is_file():
        raise ConfigurationError(f"The connection {conn_id!r} names no file that is there: give its path as the host.")
    return sqlite_access(path)


def _by_hook(conn_id: str, connection: Any) -> DatabaseAccess:
    from airflow.providers.common.compat.sdk import AirflowException
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    from airflow_etl_sync.systems.database.access import ENGINE_OPTIONS, DatabaseAccess

    unfit = ConfigurationError(
        f"The connection {conn_id!r} is of type {connection.conn_type!r}, which cannot be a source: choose one of type "
        "'postgres', 'mysql' or 'sqlite', or of a database whose provider is installed and speaks SQLAlchemy."
    )
    try:
        hook = connection.get_hook()
    except (AirflowException, ImportError):
        raise unfit from None
    if not isinstance(hook, DbApiHook):
        raise unfit
    return DatabaseAccess(lambda: hook.get_sqlalchemy_engine(dict(ENGINE_OPTIONS)))
