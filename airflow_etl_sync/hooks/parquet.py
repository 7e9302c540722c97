"""A connection to a lake of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection
from airflow_etl_sync.hooks.places import Place, partitions_of, place_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.systems.parquet.destination import ParquetDestination
    from airflow_etl_sync.systems.parquet.files import LakeFiles

PARQUET_TYPE = "parquet_lake"


class ParquetLakeHook(BaseHook):
    """The Parquet files under a directory or a prefix of a bucket.

    :param conn_id: connection of type ``parquet_lake``
    """

    conn_name_attr = "conn_id"
    default_conn_name = "parquet_lake_default"
    conn_type = PARQUET_TYPE
    hook_name = "Parquet lake"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> LakeFiles:
        """The files.

        :raises ConfigurationError: where the connection cannot be used
        """
        require_connection(self.conn_id)
        return _files_at(place_of(self.conn_id, self.get_connection(self.conn_id)))


def parquet_destination(conn_id: str, connection: Any, table: TableName, state: Engine) -> ParquetDestination:
    """Give the destination of a table in the lake of a connection.

    :raises ConfigurationError: where the connection cannot be used, or the name cannot be a directory's
    """
    from airflow_etl_sync.systems.delta.access import refuse_as_directory
    from airflow_etl_sync.systems.parquet.destination import ParquetDestination

    refuse_as_directory(table)
    files, partitions = _files_at(place_of(conn_id, connection)), partitions_of(conn_id, connection)
    return ParquetDestination(files, table, state, partitions.get(str(table), ()))


def _files_at(place: Place) -> LakeFiles:
    from airflow_etl_sync.systems.parquet.files import BucketFiles, DirectoryFiles

    if place.is_local:
        return DirectoryFiles(Path(place.uri))
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(place.uri, conn_id=place.aws_conn_id)
    try:
        return BucketFiles(path.fs, path.path)
    except ImportError:
        raise ConfigurationError("A place in s3:// needs Amazon's provider: install airflow-etl-sync[s3].") from None
