"""A small table, read whole, for a transform to join."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.core.lookups import refuse_large
from airflow_etl_sync.core.model import Stream, TableName, Window
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource
from airflow_etl_sync.systems.postgres.times import plain_times

if TYPE_CHECKING:
    import pyarrow as pa


def read_lookup_table(access: PostgresAccess, name: str, table: TableName) -> pa.Table:
    """All rows of a table, in one snapshot, with the types that rows have on their way through a sync.

    :param name: the lookup's
    :raises SchemaError: where there is no such table
    :raises ConfigurationError: where it is too large
    """
    import pyarrow as pa

    columns = [*PostgresDestination(access, table).types()]
    if not columns:
        raise SchemaError(f"The destination has no table {str(table)!r} to be the lookup {name!r}: create it first.")
    stream = Stream(sync_key=f"lookup {name}", cursor_field=columns[0], table=table, primary_key=(columns[0],))
    pieces, size = [], 0
    for batch in PostgresSource(access, stream).read(Window(), None):
        pieces.append(plain_times(batch).replace_schema_metadata(None))
        size += pieces[-1].nbytes
        refuse_large(name, size)
    return pa.concat_tables(pieces)
