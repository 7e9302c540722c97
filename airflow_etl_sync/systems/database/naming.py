"""What lineage calls a table of a database that SQLAlchemy speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.core import dataset_names

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Dataset, TableName
    from airflow_etl_sync.systems.database.access import DatabaseAccess


def dataset_of(access: DatabaseAccess, table: TableName) -> Dataset | None:
    """The table's name; None for systems whose tables were never named here on a running one."""
    url = access.make_engine().url
    system = url.get_backend_name()
    if system in ("mysql", "mariadb"):
        return dataset_names.in_mysql(url.host, url.port, url.database, table)
    if system == "postgresql":
        return dataset_names.in_postgres(url.host, url.port, url.database, table)
    if system == "sqlite" and access.name.startswith("/"):
        return dataset_names.in_sqlite(access.name, table)
    return None
