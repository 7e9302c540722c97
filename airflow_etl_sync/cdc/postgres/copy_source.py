"""Tables of PostgreSQL, to be copied in a way that fits what their replication slot tells."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from airflow_etl_sync.cdc.postgres import visibility
from airflow_etl_sync.cdc.tables import CdcTable
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.errors import SourceError, explaining
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource


@dataclass(frozen=True, slots=True)
class PostgresTables:
    """See :class:`~airflow_etl_sync.cdc.change_log.CopySource`."""

    access: PostgresAccess

    def wait_until_visible(self) -> None:
        visibility.wait_until_visible(self.access)

    def written(self) -> tuple[Lsn, str]:
        with explaining(SourceError, "ask for the position of the log"), closing(self.access.connect()) as connection:
            return visibility.read_written_at(connection)

    def table(self, key: str, table: CdcTable) -> tuple[PostgresSource, Stream]:
        stream = Stream(sync_key=key, cursor_field="xmin", table=table.source)
        return PostgresSource(self.access, stream), stream
