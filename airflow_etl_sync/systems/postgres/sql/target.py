"""The table that is loaded: what it is, and how it is made and changed."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composed, Identifier

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import column_list, identifier

TARGET_COLUMNS = SQL("""
WITH RECURSIVE base (attnum, type_oid, modifier) AS (
    SELECT attnum, atttypid, atttypmod
    FROM pg_attribute
    WHERE attrelid = to_regclass(%(relation)s) AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT base.attnum, pg_type.typbasetype, pg_type.typtypmod
    FROM base
    JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype = 'd'
)
SELECT
    attribute.attname,
    format_type(attribute.atttypid, -1),
    attribute.attgenerated <> '',
    attribute.attidentity = 'a',
    format_type(attribute.atttypid, attribute.atttypmod),
    format_type(base.type_oid, -1),
    format_type(base.type_oid, base.modifier),
    attribute.attnotnull AND NOT attribute.atthasdef AND attribute.attidentity = ''
FROM pg_attribute AS attribute
JOIN base ON base.attnum = attribute.attnum
JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype <> 'd'
WHERE attribute.attrelid = to_regclass(%(relation)s)
ORDER BY attribute.attnum
""")


KIND_OF_RELATION = SQL("SELECT relkind FROM pg_class WHERE oid = to_regclass(%(relation)s)")


LOCK_CREATION = SQL("SELECT pg_advisory_xact_lock(hashtextextended(%(relation)s, 0))")


UNIQUE_KEYS = SQL("""
SELECT array_agg(attribute.attname::text)
FROM pg_index
CROSS JOIN LATERAL unnest(pg_index.indkey) WITH ORDINALITY AS place (attnum, position)
JOIN pg_attribute AS attribute ON attribute.attrelid = pg_index.indrelid AND attribute.attnum = place.attnum
WHERE pg_index.indrelid = to_regclass(%(relation)s)
    AND pg_index.indisunique
    AND pg_index.indimmediate
    AND pg_index.indisvalid
    AND pg_index.indpred IS NULL
    AND place.position <= pg_index.indnkeyatts
GROUP BY pg_index.indexrelid
HAVING bool_and(place.attnum > 0)
""")


TYPE_EXISTS = SQL("SELECT to_regtype(%(type)s) IS NOT NULL")


def create_target(table: TableName, columns: Sequence[tuple[str, str]], key: Sequence[str]) -> Composed:
    """Create the target with the given columns and primary key; another load may have done so already."""
    lines = [SQL("{} {}").format(Identifier(name), SQL(type_)) for name, type_ in columns]
    lines.append(SQL("PRIMARY KEY ({})").format(column_list(key)))
    return SQL("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)").format(identifier(table), SQL(",\n    ").join(lines))


def add_column(table: TableName, name: str, type_: str) -> Composed:
    """Add a column that another load may have added already."""
    return SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(identifier(table), Identifier(name), SQL(type_))


def widen_column(table: TableName, name: str, type_: str) -> Composed:
    """Give a column a type that holds more."""
    return SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(identifier(table), Identifier(name), SQL(type_))
