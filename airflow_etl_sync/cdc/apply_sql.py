"""Every statement by which changes are applied to a destination, one builder each.

Staged values are text, as PostgreSQL writes them under pinned settings; they are cast to the target's types.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, identifier
from airflow_etl_sync.systems.postgres.sql.staging import read_staged

KeyTypes = Sequence[tuple[str, str]]
"""The key's columns and the target's types for them, without length or precision."""

MOVED = "etl_sync.moved."
"""With the name of a key's column behind it: the staged column of the key that a row had before."""

SETTINGS = (
    # while the source decodes a batch, the destination's transaction is idle
    SQL("SELECT set_config('idle_in_transaction_session_timeout', '0', true)"),
    # a piece is sorted by its key in memory
    SQL("SELECT set_config('work_mem', '32MB', true)"),
    # rows that change are found by their keys, and most of them in memory: reading a whole target seldom pays
    SQL("SELECT set_config('random_page_cost', '1.1', true)"),
)
"""What holds for the transaction in which changes are applied."""

# -- what the targets are ---------------------------------------------------------------------------------

FOREIGN_KEYS = SQL("""
SELECT child.place, parent.place
FROM unnest(%(relations)s::text[]) WITH ORDINALITY AS parent (relation, place)
JOIN pg_constraint AS reference
    ON reference.confrelid = to_regclass(parent.relation) AND reference.contype = 'f' AND reference.conparentid = 0
LEFT JOIN unnest(%(relations)s::text[]) WITH ORDINALITY AS child (relation, place)
    ON to_regclass(child.relation) = reference.conrelid
""")
"""Which tables are referenced, by their places from 1: by another of them, or (NULL) by one that is none of them."""

# -- emptying and deleting --------------------------------------------------------------------------------


def truncate(tables: Sequence[TableName]) -> Composed:
    """Empty tables at once, so that they may reference each other."""
    return SQL("TRUNCATE {}").format(SQL(", ").join(identifier(table) for table in tables))


def delete_all(table: TableName) -> Composed:
    """Empty a table that others reference."""
    return SQL("DELETE FROM {}").format(identifier(table))


def flag_all(table: TableName, synced_at_column: str | None) -> Composed:
    """Flag all rows as deleted."""
    return SQL("UPDATE {} AS target\nSET {}\nWHERE {} IS NOT TRUE").format(
        identifier(table), _flagged(synced_at_column), Identifier("target", SOFT_DELETED)
    )


def delete_staged(table: TableName, staging: str, key: KeyTypes) -> Composed:
    """Delete the rows whose keys are staged."""
    return SQL("DELETE FROM {} AS target\nUSING {} AS staged\nWHERE {}").format(
        identifier(table), Identifier(STATE_SCHEMA, staging), _same_key(key)
    )


def flag_staged(table: TableName, staging: str, key: KeyTypes, synced_at_column: str | None) -> Composed:
    """Flag the rows whose keys are staged as deleted."""
    return SQL("UPDATE {} AS target\nSET {}\nFROM {} AS staged\nWHERE {}\n    AND {} IS NOT TRUE").format(
        identifier(table),
        _flagged(synced_at_column),
        Identifier(STATE_SCHEMA, staging),
        _same_key(key),
        Identifier("target", SOFT_DELETED),
    )


def delete_rekeyed(table: TableName, staging: str, key: KeyTypes, unique: Sequence[KeyTypes]) -> Composed:
    """Delete rows that get other values in further unique keys, so that they can take each other's.

    :param unique: the columns of each further unique key that are staged
    """
    differs = [
        SQL("ROW({})::record *<> ROW({})::record").format(
            SQL(", ").join(read_staged(name, None, type_) for name, type_ in columns),
            SQL(", ").join(Identifier("target", name) for name, _ in columns),
        )
        for columns in unique
    ]
    return SQL("{}\n    AND ({})").format(delete_staged(table, staging, key), SQL(" OR ").join(differs))


def _flagged(synced_at_column: str | None) -> Composed:
    changes = [SQL("{} = TRUE").format(Identifier(SOFT_DELETED))]
    if synced_at_column:
        changes.append(SQL("{} = now()").format(Identifier(synced_at_column)))
    return SQL(", ").join(changes)


def _same_key(key: KeyTypes) -> Composed:
    return SQL("\n    AND ").join(
        SQL("{} = {}").format(Identifier("target", name), read_staged(name, None, type_)) for name, type_ in key
    )


# -- values that an update did not touch ------------------------------------------------------------------


def take_out_absent(table: TableName | None, staging: str, key: KeyTypes, *, is_moved: bool) -> Composed:
    """Take out of the staging the rows that the target does not have, and give their keys.

    :param table: None where there is no target yet
    :param is_moved: whether the target has the rows under the keys that they had before
    """
    absent: Composable = SQL("TRUE")
    if table is not None:
        absent = SQL("NOT EXISTS (SELECT FROM {} AS target WHERE {})").format(
            identifier(table), _same_former_key(key) if is_moved else _same_key(key)
        )
    return SQL("DELETE FROM {} AS staged\nWHERE {}\nRETURNING {}").format(
        Identifier(STATE_SCHEMA, staging), absent, SQL(", ").join(Identifier("staged", name) for name, _ in key)
    )


def fill_from_target(
    table: TableName, staging: str, key: KeyTypes, columns: Sequence[str], *, is_moved: bool
) -> Composed:
    """Fill staged columns with the values that the target has."""
    values = [SQL("{} = {}").format(Identifier(name), as_written(Identifier("target", name))) for name in columns]
    return SQL("UPDATE {} AS staged\nSET {}\nFROM {} AS target\nWHERE {}").format(
        Identifier(STATE_SCHEMA, staging),
        SQL(",\n    ").join(values),
        identifier(table),
        _same_former_key(key) if is_moved else _same_key(key),
    )


def as_written(value: Composable) -> Composed:
    """The text of a value, by its type's own output; a cast to text may do otherwise (character loses its blanks)."""
    return SQL("CASE WHEN {0} IS DISTINCT FROM NULL THEN format('%s', {0}) END").format(value)


def _same_former_key(key: KeyTypes) -> Composed:
    return SQL("\n    AND ").join(
        SQL("{} = {}").format(Identifier("target", name), read_staged(MOVED + name, None, type_)) for name, type_ in key
    )
