"""From a connection in Airflow's UI to the source behind it, whichever system that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access, require_connection
from airflow_etl_sync.hooks.databases import by_hook, mysql, sqlite_path

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Stream
    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.database.source import DatabaseSource
    from airflow_etl_sync.systems.http.source import HttpSource
    from airflow_etl_sync.systems.postgres.source import PostgresSource

HTTP_TYPES = ("http", "https")


def source_of(conn_id: str, stream: Stream) -> PostgresSource | DatabaseSource | HttpSource:
    """Give the source that an Airflow connection leads to; its type decides which system that is.

    :param conn_id: the id of a connection of type ``postgres``, ``mysql``, ``sqlite``, ``http``, or of one whose hook
        speaks SQLAlchemy
    :raises ConfigurationError: where there is no such connection, or it cannot be used
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type in HTTP_TYPES:
        from airflow_etl_sync.hooks.http import http_access
        from airflow_etl_sync.systems.http.source import HttpSource

        return HttpSource(http_access(conn_id, connection), stream)
    if stream.endpoint is not None:
        raise ConfigurationError(
            f"The connection {conn_id!r} is of type {connection.conn_type!r}, which has no endpoint: choose one of "
            "type 'http'."
        )
    if connection.conn_type in ("postgres", CDC_TYPE):
        from airflow_etl_sync.systems.postgres.source import PostgresSource

        return PostgresSource(postgres_access(conn_id), stream)
    from airflow_etl_sync.systems.database.source import DatabaseSource

    return DatabaseSource(_access(conn_id, connection), stream)


def _access(conn_id: str, connection: Any) -> DatabaseAccess:
    if connection.conn_type == "mysql":
        return mysql(conn_id, connection)
    return _sqlite(conn_id, connection) if connection.conn_type == "sqlite" else by_hook(conn_id, connection, "source")


def _sqlite(conn_id: str, connection: Any) -> DatabaseAccess:
    from airflow_etl_sync.systems.database.access import sqlite_access

    path = sqlite_path(connection)
    if not path.is_file():
        raise ConfigurationError(f"The connection {conn_id!r} names no file that is there: give its path as the host.")
    return sqlite_access(path)
