"""What lineage calls a table of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.core.dataset_names import in_postgres

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Dataset, TableName
    from airflow_etl_sync.systems.postgres.access import PostgresAccess


def dataset_of(access: PostgresAccess, table: TableName) -> Dataset:
    """The table's name: of several hosts the first one's."""
    from psycopg.conninfo import conninfo_to_dict

    options = conninfo_to_dict(access.conninfo)
    host, port = (str(options.get(name) or "").split(",")[0] for name in ("host", "port"))
    database = options.get("dbname") or options.get("user")
    return in_postgres(host, port, None if database is None else str(database), table)
