"""What a source's tables are, and rows of them asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.cdc.postgres import rows_sql
from airflow_etl_sync.cdc.postgres.visibility import read_written, wait_until_seen
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.changes import Lsn, Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import SchemaError, SourceError, explaining
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.settings import pin_settings
from airflow_etl_sync.systems.postgres.sql.names import relation_name


@dataclass(slots=True)
class SourceRows:
    """The rows of a source as they are now, asked for by their keys.

    A commit may be in the log before it can be seen: under synchronous replication it waits for the standby in
    between. So before rows are read, every transaction that was :meth:`met` is waited for.

    :param asked: the tables (``schema.name``) of which rows were read, each with a position behind all that was seen:
        until that is applied, rows here may be newer than what is applied
    """

    access: PostgresAccess
    asked: dict[str, Lsn] = field(default_factory=dict)
    _met: set[int] = field(default_factory=set)

    def met(self, xids: Iterable[int]) -> None:
        """Note transactions whose changes are being applied."""
        self._met.update(xids)

    def read(
        self,
        relation: Relation,
        types: dict[str, ColumnTypes],
        key: Sequence[str],
        columns: Sequence[str],
        keys: Sequence[Key],
    ) -> dict[Key, tuple[str | None, ...]]:
        """The values of columns by key, as PostgreSQL writes them; rows that are gone are left out."""
        from psycopg import RawCursor

        table = TableName(relation.name, relation.schema)
        statement = rows_sql.reselect(table, [(name, types[name].declared) for name in key], columns)
        with (
            explaining(SourceError, f"read rows of {relation} again"),
            closing(self.access.connect()) as connection,
        ):
            waited_for = set(self._met)  # others may be met meanwhile
            wait_until_seen(connection, waited_for)
            self._met -= waited_for
            with connection.transaction():
                pin_settings(connection)
                rows = RawCursor(connection).execute(statement, [list(column) for column in zip(*keys, strict=True)])
                found = {keys[place - 1]: tuple(values) for place, *values in rows}
            self.asked[str(relation)] = read_written(connection)
            return found


def look_up(access: PostgresAccess, tables: Iterable[CdcTable]) -> list[SourceTable]:
    """Find the tables at the source: their full names, their keys where none is given, their partitions.

    :raises SchemaError: where one is missing, or has no key
    """
    wanted = list(tables)
    relations = [relation_name(table.source) for table in wanted]
    with explaining(SourceError, "look at the tables"), closing(access.connect()) as connection:
        rows = connection.execute(rows_sql.SOURCE_TABLES, {"relations": relations}).fetchall()
    return [_found(table, row) for table, row in zip(wanted, rows, strict=True)]


def _found(table: CdcTable, row: Sequence[Any]) -> SourceTable:
    schema, name, own_key, partitions, files = row
    if name is None:
        raise SchemaError(f"The source has no table {str(table.source)!r} that this login may see: correct its name.")
    key = table.key or tuple(own_key)
    if not key:
        raise SchemaError(
            f"The table {str(table.source)!r} has no primary key: set primary_key to the columns that tell its rows "
            "apart, and let its replica identity hold them."
        )
    rules = replace(table.rules, primary_key=key)
    return SourceTable(replace(table, rules=rules), f"{schema}.{name}", frozenset(partitions or ()), files or {})
