"""What a table is, for those who look at it before the first run."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composed, Identifier, Literal

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, column_list, identifier
from airflow_etl_sync.systems.postgres.sql.streams import TREE

READ_TABLE = TREE + SQL("""
SELECT
    relation.relkind::text,
    has_table_privilege(relation.oid, 'SELECT'),
    has_table_privilege(relation.oid, 'INSERT') AND has_table_privilege(relation.oid, 'UPDATE'),
    (SELECT coalesce(sum(pg_relation_size(tree.oid)), 0)::bigint FROM tree),
    (SELECT coalesce(sum(n_tup_upd), 0)::bigint FROM pg_stat_user_tables JOIN tree ON tree.oid = relid),
    EXISTS (
        SELECT
        FROM pg_trigger
        WHERE tgrelid = relation.oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype::integer & 19 = 19
    )
FROM pg_class AS relation
WHERE relation.oid = to_regclass(%(relation)s)
""")
"""A trigger's type has bit 1 for each row, 2 for before and 16 for update."""


READ_COLUMNS = SQL("""
WITH RECURSIVE base (attnum, type_oid) AS (
    SELECT attnum, atttypid
    FROM pg_attribute
    WHERE attrelid = to_regclass(%(relation)s) AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT base.attnum, pg_type.typbasetype
    FROM base
    JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype = 'd'
)
SELECT
    attribute.attname,
    format_type(attribute.atttypid, attribute.atttypmod),
    CASE
        WHEN pg_type.typtype = 'e' THEN 'enum'
        WHEN pg_type.typnamespace = 'pg_catalog'::regnamespace THEN pg_type.typname
        ELSE ''
    END,
    attribute.attnotnull,
    attribute.attnotnull AND NOT attribute.atthasdef AND attribute.attidentity = '',
    coalesce(pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid), ''),
    (
        SELECT seqcache
        FROM pg_sequence
        WHERE seqrelid = to_regclass(pg_get_serial_sequence(%(relation)s, attribute.attname))
    )
FROM pg_attribute AS attribute
JOIN base ON base.attnum = attribute.attnum
JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype <> 'd'
LEFT JOIN pg_attrdef ON pg_attrdef.adrelid = attribute.attrelid AND pg_attrdef.adnum = attribute.attnum
WHERE attribute.attrelid = to_regclass(%(relation)s)
ORDER BY attribute.attnum
""")


FIRST_COLUMNS_OF_INDEXES = SQL("""
SELECT DISTINCT attribute.attname
FROM pg_index
JOIN pg_class AS index ON index.oid = pg_index.indexrelid
JOIN pg_am ON pg_am.oid = index.relam AND pg_am.amname IN ('btree', 'brin')
JOIN pg_attribute AS attribute ON attribute.attrelid = pg_index.indrelid AND attribute.attnum = pg_index.indkey[0]
WHERE pg_index.indrelid = to_regclass(%(relation)s) AND pg_index.indisvalid AND pg_index.indpred IS NULL
""")
"""The columns whose ranges an index of all rows finds."""


READ_VIEW_OF_OTHERS = SQL("SELECT pg_is_in_recovery(), pg_has_role('pg_read_all_stats', 'USAGE')")


READ_RIGHTS = SQL("""
SELECT
    pg_is_in_recovery(),
    has_database_privilege(current_database(), 'CREATE'),
    to_regnamespace({schema}) IS NOT NULL,
    coalesce(
        has_schema_privilege(to_regnamespace({schema})::oid, 'CREATE')
        AND has_schema_privilege(to_regnamespace({schema})::oid, 'USAGE'),
        FALSE
    )
""").format(schema=Literal(STATE_SCHEMA))


CAN_CREATE_IN = SQL("""
SELECT bool_or(has_schema_privilege(oid, 'CREATE'))
FROM pg_namespace
WHERE nspname = coalesce(%(schema)s, current_schema())
""")
"""NULL where there is no such schema."""


def find_bad_key(table: TableName, key: Sequence[str]) -> Composed:
    """Whether any row lacks a part of its key, and whether any key is there twice; all rows are read."""
    return SQL(
        "SELECT\n"
        "    EXISTS (SELECT FROM {table} WHERE {is_null}),\n"
        "    EXISTS (SELECT FROM {table} GROUP BY {columns} HAVING count(*) > 1)"
    ).format(
        table=identifier(table),
        is_null=SQL(" OR ").join(SQL("{} IS NULL").format(Identifier(name)) for name in key),
        columns=column_list(key),
    )
