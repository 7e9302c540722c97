"""From a connection in Airflow's UI to the source behind it, whichever system that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access, require_connection
from airflow_etl_sync.hooks.databases import MYSQL_TYPES, by_hook, mysql, sqlite_path

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_etl_sync.core.files import FileSet
    from airflow_etl_sync.core.keys import KeyStream
    from airflow_etl_sync.core.model import Stream
    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.database.keys import DatabaseKeySource
    from airflow_etl_sync.systems.database.source import DatabaseSource
    from airflow_etl_sync.systems.files.source import FileSource
    from airflow_etl_sync.systems.http.source import HttpSource
    from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
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
    if connection.conn_type in HTTP_TYPES and stream.endpoint is None:
        raise ConfigurationError(
            f"The connection {conn_id!r} is of type {connection.conn_type!r}, which has no tables: give an endpoint, "
            "or choose a connection of type 'postgres' or of another database."
        )
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


def keys_of(conn_id: str, keys: KeyStream) -> PostgresKeySource | DatabaseKeySource:
    """Give the source of the keys of a table or query; the connection's type decides which system that is.

    :param conn_id: the id of a connection of type ``postgres``, ``mysql``, ``sqlite``, or of one whose hook speaks
        SQLAlchemy
    :raises ConfigurationError: where there is no such connection, or it cannot be used
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type in HTTP_TYPES:
        raise ConfigurationError(
            f"The connection {conn_id!r} is of type {connection.conn_type!r}, which has no tables whose keys could be "
            "compared: choose one of type 'postgres' or of another database."
        )
    if connection.conn_type in ("postgres", CDC_TYPE):
        from airflow_etl_sync.systems.postgres.keys import PostgresKeySource

        return PostgresKeySource(postgres_access(conn_id), keys)
    from airflow_etl_sync.systems.database.keys import DatabaseKeySource

    return DatabaseKeySource(_access(conn_id, connection), keys)


def _access(conn_id: str, connection: Any) -> DatabaseAccess:
    if connection.conn_type in MYSQL_TYPES:
        return mysql(conn_id, connection)
    return _sqlite(conn_id, connection) if connection.conn_type == "sqlite" else by_hook(conn_id, connection, "source")


def files_of(conn_id: str | None, stream: Stream, files: FileSet, lag: timedelta | int) -> FileSource:
    """Give the source of a set of files.

    :param conn_id: the connection of their storage, where the URI names none and it needs one
    :param lag: how long a writer may be at a file
    :raises ConfigurationError: where the URI holds a secret, or there is no such connection or library
    """
    from airflow_etl_sync.hooks.storage import storage_path
    from airflow_etl_sync.systems.files.place import FilePlace
    from airflow_etl_sync.systems.files.source import FileSource

    path = storage_path("uri", files.uri, conn_id)
    is_local = path.protocol in ("", "file", "local")
    if is_local and not files.uri.rpartition("://")[2].startswith("/"):
        raise ConfigurationError(f"uri {files.uri!r} is not a full path: begin it with / or with a protocol.")
    return FileSource(FilePlace(path.fs, path.path, files.uri), stream, lag)


def _sqlite(conn_id: str, connection: Any) -> DatabaseAccess:
    from airflow_etl_sync.systems.database.access import sqlite_access

    path = sqlite_path(connection)
    if not path.is_file():
        raise ConfigurationError(f"The connection {conn_id!r} names no file that is there: give its path as the host.")
    return sqlite_access(path)
