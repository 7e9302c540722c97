"""Staging tables, and staged values as the target's types."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA

LEFT_BEHIND = SQL("""
SELECT relation.relname
FROM pg_class AS relation
JOIN etl_sync.sync_run AS run ON run.extraction_id = split_part(relation.relname, '_', 2)
WHERE relation.relnamespace = 'etl_sync'::regnamespace
    AND relation.relname LIKE 'stage\\_%'
    AND relation.relkind = 'r'
    AND run.status IN ('done', 'abandoned')
""")


def create_staging(name: str, columns: Sequence[tuple[str, str]]) -> Composed:
    """Create an unlogged table: a crash of the server empties it, and the load then runs again."""
    lines = SQL(",\n    ").join(SQL("{} {}").format(Identifier(column), SQL(type_)) for column, type_ in columns)
    return SQL("CREATE UNLOGGED TABLE {} (\n    {}\n) WITH (autovacuum_enabled = false)").format(
        Identifier(STATE_SCHEMA, name), lines
    )


def copy_in(name: str) -> Composed:
    """Take rows in as COPY packs them."""
    return SQL("COPY {} FROM STDIN (FORMAT binary)").format(Identifier(STATE_SCHEMA, name))


def drop_staging(name: str) -> Composed:
    """Drop a staging table, if it is there."""
    return SQL("DROP TABLE IF EXISTS {}").format(Identifier(STATE_SCHEMA, name))


def count_staged(name: str, conditions: Sequence[Composable]) -> Composed:
    """How many rows are staged, and how many of them meet each condition."""
    counts = [SQL("count(*)"), *(SQL("count(*) FILTER (WHERE {})").format(condition) for condition in conditions)]
    return SQL("SELECT {}\nFROM {} AS staged").format(SQL(", ").join(counts), Identifier(STATE_SCHEMA, name))


def read_lossless(column: str, encoding: str | None, source_type: str, target: tuple[str, str]) -> Composed:
    """As :func:`read_staged`, but a value that the target's type would change is an error, which names it.

    :param target: the target's type without and with length and precision
    """
    plain, declared = target
    original = read_staged(column, encoding, source_type)
    return SQL(
        "CASE WHEN CAST(CAST({original} AS {declared}) AS {source}) IS DISTINCT FROM {original} "
        "THEN CAST(CAST(CAST({original} AS text) || ' does not fit' AS boolean)::text AS {plain}) "
        "ELSE {value} END"
    ).format(
        original=original,
        declared=SQL(declared),
        source=SQL(source_type),
        plain=SQL(plain),
        value=read_staged(column, encoding, plain),
    )


def find_bent(name: str, columns: Sequence[tuple[str, str | None, str, str]]) -> Composed:
    """For each column, whether the target's type would change any staged value: it does not come back the same.

    :param columns: name, encoding, the type the source has, and the target's type with length and precision
    """

    def is_bent(column: str, encoding: str | None, source_type: str, target_type: str) -> Composed:
        original = read_staged(column, encoding, source_type)
        return SQL("bool_or(CAST(CAST({0} AS {1}) AS {2}) IS DISTINCT FROM {0})").format(
            original, SQL(target_type), SQL(source_type)
        )

    return SQL("SELECT {}\nFROM {} AS staged").format(
        SQL(", ").join(is_bent(*column) for column in columns), Identifier(STATE_SCHEMA, name)
    )


def read_staged(column: str, encoding: str | None, target_type: str) -> Composed:
    """A staged column as the target's type, without length or precision: those the assignment checks aloud."""
    staged: Composable = Identifier("staged", column)
    if encoding in _INSTANTS:
        return SQL("CAST({} AS {})").format(_from_postgres_integer(staged, encoding), SQL(target_type))
    if encoding not in (None, target_type):  # other types take its text, as they do where it was staged as text
        staged = SQL("CAST({} AS text)").format(staged)
    if target_type in _CAST_IS_NO_INPUT:
        return SQL("CAST(CAST({} AS bpchar) AS {})").format(staged, SQL(target_type))
    return SQL("CAST({} AS {})").format(staged, SQL(target_type))


# The cast from text takes only names, where the type's own input takes all that its output gives; from bpchar
# there is no cast, so that PostgreSQL goes through the input.
_CAST_IS_NO_INPUT = frozenset({"regclass"})

_INSTANTS = ("date", "timestamp", "timestamptz")


def _from_postgres_integer(staged: Composable, base_type: str) -> Composed:
    """PostgreSQL's own integer back to the date or time it stands for: the extremes are the infinities."""
    if base_type == "date":
        value, low, high = "date '2000-01-01' + {0}", "-2147483648", "2147483647"
    else:
        value, low, high = _INSTANT, "-9223372036854775808", "9223372036854775807"
    if base_type == "timestamptz":
        value = f"({value}) AT TIME ZONE 'UTC'"
    return SQL(
        f"CASE {{0}} WHEN {high} THEN {base_type} 'infinity' WHEN {low} THEN {base_type} '-infinity' ELSE {value} END"
    ).format(staged)


# days and seconds apart: an interval of many seconds alone would lose microseconds in a double
_INSTANT = (
    "timestamp '2000-01-01' + make_interval(days => CAST(div({0}, 86400000000) AS integer), "
    "secs => mod({0}, 86400000000) / 1000000.0)"
)


def staged_text(column: str, encoding: str | None) -> Composed:
    """A staged value as PostgreSQL writes it."""
    return read_staged(column, encoding, "text")
