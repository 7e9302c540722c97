"""What a stream is: its columns, its types, and how it stands in a FROM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.systems.postgres.placement import place, without_end
from airflow_etl_sync.systems.postgres.sql.names import XMIN, all_of, identifier
from airflow_etl_sync.systems.postgres.types import StreamColumn

TABLE_EXISTS = SQL("SELECT to_regclass(%(relation)s) IS NOT NULL")


TREE = SQL("""
WITH RECURSIVE tree (oid) AS (
    SELECT to_regclass(%(relation)s::text)::oid
    UNION
    SELECT pg_inherits.inhrelid
    FROM tree
    JOIN pg_inherits ON pg_inherits.inhparent = tree.oid
)""")
"""A table and those below it."""


KINDS_OF_TREE = TREE + SQL("""
SELECT array_agg(DISTINCT pg_class.relkind::text)
FROM tree
JOIN pg_class ON pg_class.oid = tree.oid
""")
"""What kinds of relations a table and those below it are: rows of foreign ones have no transaction."""


KEY_COLUMNS = SQL("""
SELECT attribute.attname
FROM pg_index
CROSS JOIN LATERAL unnest(pg_index.indkey) WITH ORDINALITY AS place (attnum, position)
JOIN pg_attribute AS attribute ON attribute.attrelid = pg_index.indrelid AND attribute.attnum = place.attnum
WHERE pg_index.indrelid = to_regclass(%(relation)s) AND pg_index.indisprimary
ORDER BY place.position
""")


IS_NOT_NULL = SQL("""
SELECT attnotnull
FROM pg_attribute
WHERE attrelid = to_regclass(%(relation)s) AND attname = %(column)s AND NOT attisdropped
""")


TYPES_OF_COLUMNS = SQL("""
WITH RECURSIVE base (place, oid, modifier, type_oid) AS (
    SELECT place, oid, modifier, oid
    FROM unnest(%(oids)s::oid[], %(modifiers)s::integer[]) WITH ORDINALITY AS described (oid, modifier, place)
    UNION ALL
    SELECT base.place, base.oid, base.modifier, pg_type.typbasetype
    FROM base
    JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype = 'd'
)
SELECT
    format_type(base.oid, CASE WHEN base.oid = base.type_oid THEN base.modifier END),
    format_type(base.oid, -1),
    CASE
        WHEN pg_type.typtype = 'e' THEN 'enum'
        WHEN pg_type.typnamespace = 'pg_catalog'::regnamespace THEN pg_type.typname
        ELSE ''
    END,
    CASE
        WHEN base.oid = base.type_oid AND pg_type.typnamespace = 'pg_catalog'::regnamespace
            THEN format_type(base.oid, base.modifier)
        WHEN pg_type.typnamespace = 'pg_catalog'::regnamespace THEN format_type(base.type_oid, -1)
        ELSE 'text'
    END
FROM base
JOIN pg_type ON pg_type.oid = base.type_oid AND pg_type.typtype <> 'd'
ORDER BY base.place
""")


def describe_stream(stream: Stream) -> Composed:
    """Read no row of the stream: its columns come with the empty result, and the author's condition is checked."""
    condition = all_of([*author_condition(stream), SQL("FALSE")])
    return SQL("SELECT {}\nFROM {}\nWHERE {}").format(_author_columns(stream), relation(stream), condition)


def types_of_stream(stream: Stream, names: Sequence[str]) -> Composed:
    """The types of columns as they are declared: the description of a result tells only what a domain rests on."""
    types = SQL(", ").join(SQL("pg_typeof({})::oid").format(source_column(name)) for name in names)
    return SQL("SELECT ARRAY[{}]::oid[]::text\nFROM (VALUES (1)) AS one\nLEFT JOIN {} ON FALSE").format(
        types, relation(stream)
    )


def _author_columns(stream: Stream) -> Composable:
    if not stream.columns:
        return SQL("source.*")
    wanted = dict.fromkeys([*stream.columns, stream.cursor_field, *stream.primary_key])
    if stream.cursor_field == XMIN:
        wanted.pop(XMIN)  # which no table can have for a column
    return SQL(", ").join(source_column(name) for name in wanted)


def relation(stream: Stream, condition: Callable[[Composable], Composable] | None = None) -> Composed:
    """What is read. The author's query may say where a condition on the cursor goes; by default all rows meet it."""
    if stream.table is not None:
        return SQL("{} AS source").format(identifier(stream.table))

    def placed(expression: str) -> str:
        return "TRUE" if condition is None else condition(SQL(expression)).as_string(None)

    return SQL("(\n{}\n) AS source").format(SQL(place(without_end(stream.sql or ""), placed)))


def source_column(name: str) -> Identifier:
    """A column of what is read."""
    return Identifier("source", name)


def check_places(stream: Stream, cursor: StreamColumn) -> Composed:
    """Read no row: PostgreSQL refuses this where the window is placed on what is no value of the cursor's type.

    Of times the type must be the very same, by a range's operator, since a comparison would take a local time for one
    of UTC. COALESCE takes a domain for the type below it.
    """
    range_type = _RANGES.get(cursor.base_type)

    def is_fit(expression: Composable) -> Composable:
        if range_type is None:
            return SQL("({} >= CAST(NULL AS {}) OR TRUE)").format(expression, SQL(cursor.plain_type))
        return SQL("(coalesce({}, NULL) <@ CAST(NULL AS {}) OR TRUE)").format(expression, SQL(range_type))

    return SQL("SELECT FROM {}\nWHERE FALSE").format(relation(stream, is_fit))


_RANGES = {"timestamptz": "tstzrange", "timestamp": "tsrange", "date": "daterange"}


def find_null_cursor(stream: Stream) -> Composed:
    """Whether any row has no cursor value."""
    return SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(
        relation(stream), all_of([*author_condition(stream), has_no_cursor(stream)])
    )


def author_condition(stream: Stream) -> list[Composable]:
    """The author's own condition, if there is one."""
    return [SQL("(\n{}\n)").format(SQL(stream.where))] if stream.where else []


def has_no_cursor(stream: Stream) -> Composed:
    """Whether a row has no cursor value."""
    return SQL("{} IS NULL").format(source_column(stream.cursor_field))


PLAIN_TYPES = SQL("""
SELECT format_type(to_regtype(given.type), -1)
FROM unnest(%(types)s::text[]) WITH ORDINALITY AS given (type, place)
ORDER BY given.place
""")
"""Types without length or precision, which an explicit cast would cut or round to; NULL where there is none."""
