"""A connection to a file of DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.systems.duckdb.destination import DuckDbDestination

DUCKDB_TYPE = "duckdb"


class DuckDbHook(BaseHook):
    """A file of DuckDB, whose path is the connection's host.

    :param conn_id: connection of type ``duckdb``
    """

    conn_name_attr = "conn_id"
    default_conn_name = "duckdb_default"
    conn_type = DUCKDB_TYPE
    hook_name = "DuckDB"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> DuckDBPyConnection:
        """The file, opened to read; as long as it is open, nothing is loaded into it.

        :raises ConfigurationError: where the connection cannot be used
        """
        import duckdb

        require_connection(self.conn_id)
        path = duckdb_path(self.conn_id, self.get_connection(self.conn_id))
        return duckdb.connect(str(path), read_only=True)


def duckdb_path(conn_id: str, connection: Any) -> Path:
    """Give the path of the file that a connection of type ``duckdb`` names.

    :raises ConfigurationError: where it names none in a folder that is there, or the library is not installed
    """
    try:
        import duckdb  # noqa: F401
    except ImportError:
        raise ConfigurationError("A file of DuckDB needs a library: install airflow-etl-sync[duckdb].") from None
    path = Path(connection.host or "")
    if not path.is_absolute() or not path.parent.is_dir():
        raise ConfigurationError(
            f"The connection {conn_id!r} names no file in a folder that is there: give its absolute path as the host."
        )
    return path


def duckdb_destination(conn_id: str, connection: Any, table: TableName, state: Engine) -> DuckDbDestination:
    """Give the destination of a table in the file of a connection.

    :raises ConfigurationError: where the connection cannot be used
    """
    from airflow_etl_sync.systems.duckdb.destination import DuckDbDestination

    return DuckDbDestination(duckdb_path(conn_id, connection), table, state)
