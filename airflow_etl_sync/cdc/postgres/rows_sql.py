"""Every statement that asks a source for its tables and for rows of them, beside its log."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composed, Identifier

from airflow_etl_sync.cdc.apply_sql import KeyTypes, as_written
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import identifier

SOURCE_TABLES = SQL("""
SELECT
    namespace.nspname,
    class.relname,
    ARRAY(
        SELECT attribute.attname::text
        FROM pg_index
        CROSS JOIN LATERAL unnest(pg_index.indkey) WITH ORDINALITY AS place (attnum, position)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = pg_index.indrelid AND attribute.attnum = place.attnum
        WHERE pg_index.indrelid = class.oid AND pg_index.indisprimary
        ORDER BY place.position
    ),
    ARRAY(
        SELECT leaf_namespace.nspname || '.' || leaf.relname
        FROM pg_partition_tree(class.oid) AS tree
        JOIN pg_class AS leaf ON leaf.oid = tree.relid
        JOIN pg_namespace AS leaf_namespace ON leaf_namespace.oid = leaf.relnamespace
        WHERE tree.relid <> class.oid
    ),
    (
        SELECT json_object_agg(leaf.oid::text, leaf.relfilenode::text)
        FROM pg_partition_tree(class.oid) AS tree
        JOIN pg_class AS leaf ON leaf.oid = tree.relid
        WHERE tree.isleaf AND class.relkind = 'p'
    )
FROM unnest(%(relations)s::text[]) WITH ORDINALITY AS wanted (relation, place)
LEFT JOIN pg_class AS class ON class.oid = to_regclass(wanted.relation)
LEFT JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
ORDER BY wanted.place
""")
"""Each table's full name, key, partitions, and in which files its leaves are."""


def reselect(table: TableName, key: KeyTypes, columns: Sequence[str]) -> Composed:
    """Read rows by their keys, which are $1, $2 and so on column by column: their places from 1, and their values."""
    asked = [f"key_{place}" for place in range(len(key))]
    same = [
        SQL("source.{} = CAST(asked.{} AS {})").format(Identifier(name), Identifier(alias), SQL(type_))
        for alias, (name, type_) in zip(asked, key, strict=True)
    ]
    return SQL(
        "SELECT asked.place, {}\nFROM unnest({}) WITH ORDINALITY AS asked ({}, place)\nJOIN {} AS source ON {}"
    ).format(
        SQL(", ").join(as_written(Identifier("source", name)) for name in columns),
        SQL(", ").join(SQL(f"CAST(${place} AS text[])") for place in range(1, len(key) + 1)),
        SQL(", ").join(Identifier(alias) for alias in asked),
        identifier(table),
        SQL(" AND ").join(same),
    )
