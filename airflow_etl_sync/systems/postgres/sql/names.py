"""Names as identifiers, and what statements share."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.model import LONGEST_NAME_BYTES, TableName
from airflow_etl_sync.errors import ConfigurationError

STATE_SCHEMA = "etl_sync"


XMIN = "xmin"
"""The system column that no other column can be called."""


def relation_name(table: TableName) -> str:
    """A table's name for ``to_regclass``, which is bound like any other value."""
    return identifier(table).as_string(None)


def identifier(table: TableName) -> Identifier:
    """A table's name in a statement.

    :raises ConfigurationError: where it is too long, since PostgreSQL would cut it and find another table
    """
    parts = [part for part in (table.schema, table.name) if part]
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        raise ConfigurationError(f"A name of the table {str(table)!r} is longer than {LONGEST_NAME_BYTES} bytes.")
    return Identifier(*parts)


def all_of(conditions: Sequence[Composable]) -> Composable:
    """Conditions that must all hold; none is always true."""
    return SQL("\n    AND ").join(conditions) if conditions else SQL("TRUE")


def column_list(names: Sequence[str]) -> Composed:
    """Columns, one after another."""
    return SQL(", ").join(Identifier(name) for name in names)
