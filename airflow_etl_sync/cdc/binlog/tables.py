"""Tables of MySQL and MariaDB as they are now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_etl_sync.cdc.binlog import sql as binlog_sql
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.database.mysql import MySql

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table, and its columns by name."""

    table: SourceTable
    columns: dict[str, DatabaseColumn]


def look_up(connection: Connection, tables: Iterable[CdcTable]) -> list[FoundTable]:
    """Find tables: the names that the log has for them, their columns, their keys where none is given.

    :raises SchemaError: where one is missing, or has no key
    """
    return [_look_up(connection, table) for table in tables]


def _look_up(connection: Connection, table: CdcTable) -> FoundTable:
    place = {"schema": table.source.schema, "name": table.source.name}
    row = connection.execute(binlog_sql.READ_TABLE, place).first()
    if row is None:
        raise SchemaError(f"The source has no table {str(table.source)!r} that this login may see: correct its name.")
    stream = Stream(sync_key="capture", cursor_field="-", table=TableName(row.table_name, row.table_schema))
    described = connection.execute(sql.describe(stream))
    found = MySql().find(connection, stream, [each[0] for each in described.cursor.description], described.cursor)
    key = table.key or found.own_key
    if not key:
        raise SchemaError(
            f"The table {str(table.source)!r} has no primary key: give it one, or set primary_key to the columns that "
            "tell its rows apart."
        )
    terms = replace(table, rules=replace(table.rules, primary_key=key))
    columns = {column.name: column for column in found.columns or ()}
    return FoundTable(SourceTable(terms, f"{row.table_schema}.{row.table_name}", frozenset(), {}), columns)
