"""What lineage calls a table, by OpenLineage's rules (https://openlineage.io/docs/spec/naming).

Those name no files of DuckDB and SQLite: DuckDB's are called as OpenLineage's own integration of dbt calls them, and
SQLite's alike. No name holds a login.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from airflow_etl_sync.core.model import Dataset, TableName


def in_postgres(host: str | None, port: object, database: str | None, table: TableName) -> Dataset:
    """A table of PostgreSQL; one whose name has no schema is in ``public``, as Airflow's own hook takes it."""
    namespace = f"postgres://{(host or 'localhost').lower()}:{port or 5432}"
    return Dataset(namespace, f"{database}.{table.schema or 'public'}.{table.name}")


def in_mysql(host: str | None, port: object, database: str | None, table: TableName) -> Dataset:
    """A table of MySQL or MariaDB, where a schema is a database."""
    namespace = f"mysql://{(host or 'localhost').lower()}:{port or 3306}"
    return Dataset(namespace, f"{table.schema or database}.{table.name}")


def in_sqlite(path: str, table: TableName) -> Dataset:
    """A table in a file of SQLite.

    :param path: the file, from the root
    """
    return Dataset(f"sqlite://{path}", f"{table.schema or 'main'}.{table.name}")


def in_duckdb(path: str, table: TableName) -> Dataset:
    """A table in a file of DuckDB, whose database has the file's name.

    :param path: the file, from the root
    """
    return Dataset(f"duckdb://{path}", f"{PurePath(path).stem}.{table.schema or 'main'}.{table.name}")


def in_snowflake(account: str, database: str, schema: str, table: str) -> Dataset:
    """A table of Snowflake, by the names that Snowflake has for it.

    :param account: as the connector takes it. ``organization-account`` stands alone; a locator has region and cloud
        behind it, which OpenLineage takes for ``us-west-1.aws`` where they are left out
    """
    locator, *place = account.split(".")
    if "-" not in locator:
        locator = ".".join([locator, *place, *("us-west-1", "aws")[len(place) :]])
    return Dataset(f"snowflake://{locator}", f"{database}.{schema}.{table}")


def in_bigquery(project: str, dataset: str, table: str) -> Dataset:
    """A table of BigQuery."""
    return Dataset("bigquery", f"{project}.{dataset}.{table}")


def in_folder(root: str, parts: Sequence[str] = ()) -> Dataset:
    """A folder of files.

    :param root: a path of this machine, or ``s3://bucket/prefix``
    :param parts: the folders below it
    """
    scheme, is_remote, place = root.rpartition("://")
    if not is_remote or scheme == "file":
        return Dataset("file", "/".join([place.rstrip("/"), *parts]))
    bucket, _, prefix = place.partition("/")
    return Dataset(f"{scheme}://{bucket}", "/".join(part for part in (prefix.strip("/"), *parts) if part) or "/")
