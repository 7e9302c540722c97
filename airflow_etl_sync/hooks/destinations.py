"""From a connection in Airflow's UI to the destination behind it, whichever system that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access, require_connection
from airflow_etl_sync.hooks.databases import by_hook, mysql, sqlite_path

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.systems.base import TypedDestination
    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

_POSTGRES = ("postgres", CDC_TYPE)

Maker = Callable[[str, Any, "TableName", "Engine"], "TypedDestination"]
"""Makes the destination of a connection's id, the connection, a table, and the engine of the state tables."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A destination, and the database that keeps its state.

    :param conn_id: the connection that leads to the destination
    :param table_beside_state: the table that is loaded, where it is in that database
    """

    conn_id: str
    destination: TypedDestination
    state: PostgresAccess
    table_beside_state: TableName | None = None


def destination_of(conn_id: str, table: TableName, state_conn_id: str | None = None) -> Reached:
    """Give the destination that an Airflow connection leads to; its type decides which system that is.

    :param conn_id: the id of a connection
    :param state_conn_id: the id of a connection of type ``postgres`` whose schema ``etl_sync`` keeps the state; not
        looked at where the destination is PostgreSQL, which keeps the state beside the rows
    :raises ConfigurationError: where there is no such connection, it cannot be used, or nothing says where the state
        is kept
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type in _POSTGRES:
        from airflow_etl_sync.systems.postgres.destination import PostgresDestination

        access = postgres_access(conn_id)
        return Reached(conn_id, PostgresDestination(access, table), access, table)
    state = state_access(state_conn_id or conn_id)
    return Reached(conn_id, destination_at(conn_id, table, state.engine()), state)


def destination_at(conn_id: str, table: TableName, state: Engine) -> TypedDestination:
    """Give the destination that a connection leads to, which is none that keeps the state beside its rows.

    :param state: the engine of the state tables
    :raises ConfigurationError: where there is no such connection, or it cannot be used
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    connection = BaseHook.get_connection(conn_id)
    make = _MAKERS.get(str(connection.conn_type), _database)
    return make(conn_id, connection, table, state)


def state_access(conn_id: str) -> PostgresAccess:
    """Give the way into the database that keeps the state.

    :raises ConfigurationError: where there is no such connection, or it is none to PostgreSQL
    """
    from airflow.providers.common.compat.sdk import BaseHook

    require_connection(conn_id)
    type_ = BaseHook.get_connection(conn_id).conn_type
    if type_ not in _POSTGRES:
        raise ConfigurationError(
            f"The connection {conn_id!r} is of type {type_!r}, and the state is kept in PostgreSQL only: name a "
            "connection of type 'postgres' in state_conn_id."
        )
    return postgres_access(conn_id)


def _database(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.systems.database.destination import DatabaseDestination

    return DatabaseDestination(_access(conn_id, connection), table, state)


def _access(conn_id: str, connection: Any) -> DatabaseAccess:
    if connection.conn_type == "mysql":
        return mysql(conn_id, connection)
    return _sqlite(conn_id, connection) if connection.conn_type == "sqlite" else by_hook(conn_id, connection, _ROLE)


def _sqlite(conn_id: str, connection: Any) -> DatabaseAccess:
    from airflow_etl_sync.systems.database.access import sqlite_writer

    path = sqlite_path(connection)
    if not path.name or not path.parent.is_dir():
        raise ConfigurationError(
            f"The connection {conn_id!r} names no file in a folder that is there: give its path as the host."
        )
    return sqlite_writer(path)


def _bigquery(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.hooks.bigquery import bigquery_destination

    return bigquery_destination(conn_id, connection, table, state)


def _delta(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.hooks.delta import delta_destination

    return delta_destination(conn_id, connection, table, state)


def _duckdb(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.hooks.duckdb import duckdb_destination

    return duckdb_destination(conn_id, connection, table, state)


def _parquet(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.hooks.parquet import parquet_destination

    return parquet_destination(conn_id, connection, table, state)


def _snowflake(conn_id: str, connection: Any, table: TableName, state: Engine) -> TypedDestination:
    from airflow_etl_sync.hooks.snowflake import snowflake_destination

    return snowflake_destination(conn_id, connection, table, state)


_ROLE = "destination"
_MAKERS: Mapping[str, Maker] = {
    "google_cloud_platform": _bigquery,
    "gcpbigquery": _bigquery,
    "delta_lake": _delta,
    "duckdb": _duckdb,
    "parquet_lake": _parquet,
    "snowflake": _snowflake,
}
"""By the type of the connection; what is not named here is taken for a database that speaks SQLAlchemy."""
