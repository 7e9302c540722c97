"""A connection to a lake of Delta tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError
from airflow_etl_sync.hooks.connections import require_connection
from airflow_etl_sync.hooks.places import partitions_of, place_of, s3_options

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from sqlalchemy import Engine

    from airflow_etl_sync.systems.delta.access import DeltaAccess
    from airflow_etl_sync.systems.delta.destination import DeltaDestination

DELTA_TYPE = "delta_lake"


class DeltaLakeHook(BaseHook):
    """The Delta tables under a directory or a prefix of a bucket.

    :param conn_id: connection of type ``delta_lake``
    """

    conn_name_attr = "conn_id"
    default_conn_name = "delta_lake_default"
    conn_type = DELTA_TYPE
    hook_name = "Delta Lake"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> DeltaAccess:
        """The way to the tables.

        :raises ConfigurationError: where the connection cannot be used
        """
        require_connection(self.conn_id)
        return delta_access(self.conn_id, self.get_connection(self.conn_id))

    def table(self, name: str) -> DeltaTable:
        """A table, opened as it is now: to query it, or to compact and vacuum it.

        :param name: the table (``schema.table``)
        :raises ConfigurationError: where the connection cannot be used
        :raises deltalake.exceptions.TableNotFoundError: where there is none
        """
        from deltalake import DeltaTable

        access = self.get_conn()
        return DeltaTable(access.uri(TableName.parse(name)), storage_options=dict(access.options()))

    def test_connection(self) -> tuple[bool, str]:
        """Whether the place can be read; the Test button shows it."""
        from airflow_etl_sync.systems.delta.faults import refuse_unreadable

        try:
            access = self.get_conn()
            refuse_unreadable(access)
        except EtlSyncError as error:
            return False, str(error)
        return True, f"Tables lie under {access.root}, which can be read."


def delta_access(conn_id: str, connection: Any) -> DeltaAccess:
    """Give the way to the tables of a connection of type ``delta_lake``.

    :raises ConfigurationError: where it cannot be used, or the library is not installed
    """
    try:
        import deltalake  # noqa: F401
    except ImportError:
        raise ConfigurationError("Delta tables need a library: install airflow-etl-sync[delta].") from None
    from airflow_etl_sync.systems.delta.access import DeltaAccess

    place, partitions = place_of(conn_id, connection), partitions_of(conn_id, connection)
    if place.is_local:
        return DeltaAccess(place.uri, partitions=partitions)
    return DeltaAccess(place.uri, lambda: s3_options(place), partitions)


def delta_destination(conn_id: str, connection: Any, table: TableName, state: Engine) -> DeltaDestination:
    """Give the destination of a table in the lake of a connection.

    :raises ConfigurationError: where the connection cannot be used, or the name cannot be a directory's
    """
    from airflow_etl_sync.systems.delta.destination import DeltaDestination

    return DeltaDestination(delta_access(conn_id, connection), table, state)
