"""Every statement that this package sends to PostgreSQL, one builder each.

Names become identifiers and values are bound. COPY, by which ADBC reads, takes no parameters: there the
values stand in transaction-local settings, which :data:`SET_VALUE` fills with bound values.
What the author of a DAG writes as ``sql`` or ``where`` is taken as SQL, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import CursorType, LoadRules, Stream, TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.postgres.placement import is_placed, place, without_end
from airflow_etl_sync.systems.postgres.types import StreamColumn

STATE_SCHEMA = "etl_sync"
XMIN = "xmin"
"""The system column that no other column can be called."""
_LONGEST_NAME_BYTES = 63

# -- sessions ---------------------------------------------------------------------------------------------

BEGIN_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

PINNED_SETTINGS = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
}
"""Under these a value's text means the same in every session that reads it."""

PIN_DATES = "SET DateStyle = 'ISO, YMD'"
"""Dates that are read as text, and those that the driver reads, which knows no other style."""

READING_SETTINGS = ("SET LOCAL lc_monetary = 'C'", "SET LOCAL xmloption = content", "SET LOCAL array_nulls = on")
"""Under these a value's text is read back as what it was written from."""

SET_VALUE = "SELECT set_config($1, $2, true)"


def setting(name: str) -> str:
    """The name of the transaction-local setting that holds a value of the window or of a position."""
    return f"etl_sync.{name}"


def _setting_value(name: str, plain_type: str) -> Composed:
    return SQL("CAST(current_setting({}) AS {})").format(Literal(setting(name)), SQL(plain_type))


IS_NOTHING_REWRITTEN = """
SELECT coalesce(bool_and(pg_class.relfilenode = pg_relation_filenode(pg_class.oid)), true)
FROM pg_locks
JOIN pg_class ON pg_class.oid = pg_locks.relation
WHERE pg_locks.pid = pg_backend_pid()
    AND pg_locks.locktype = 'relation'
    AND pg_class.relfilenode <> 0
"""
"""The row of pg_class is that of the snapshot, the function tells of now. Tables made since are in no snapshot."""


def plan(statement: str) -> str:
    """Plan a statement, which locks the tables that it reads until the transaction ends."""
    return SQL("EXPLAIN {}").format(SQL(statement)).as_string(None)


# -- describing -------------------------------------------------------------------------------------------

TABLE_EXISTS = SQL("SELECT to_regclass(%(relation)s) IS NOT NULL")

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


def relation_name(table: TableName) -> str:
    """A table's name for ``to_regclass``, which is bound like any other value."""
    return identifier(table).as_string(None)


def identifier(table: TableName) -> Identifier:
    """A table's name in a statement.

    :raises ConfigurationError: where it is too long, since PostgreSQL would cut it and find another table
    """
    parts = [part for part in (table.schema, table.name) if part]
    if any(len(part.encode()) > _LONGEST_NAME_BYTES for part in parts):
        raise ConfigurationError(f"A name of the table {str(table)!r} is longer than {_LONGEST_NAME_BYTES} bytes.")
    return Identifier(*parts)


def describe_stream(stream: Stream) -> Composed:
    """Read no row of the stream: its columns come with the empty result."""
    return SQL("SELECT {}\nFROM {}\nWHERE FALSE").format(_author_columns(stream), _relation(stream))


def types_of_stream(stream: Stream, names: Sequence[str]) -> Composed:
    """The types of columns as they are declared: the description of a result tells only what a domain rests on."""
    types = SQL(", ").join(SQL("pg_typeof({})::oid").format(_source(name)) for name in names)
    return SQL("SELECT ARRAY[{}]::oid[]::text\nFROM (VALUES (1)) AS one\nLEFT JOIN {} ON FALSE").format(
        types, _relation(stream)
    )


def _author_columns(stream: Stream) -> Composable:
    if not stream.columns:
        return SQL("source.*")
    cursor = [] if stream.cursor_field == XMIN else [stream.cursor_field]
    wanted = dict.fromkeys([*stream.columns, *cursor, *stream.primary_key])
    return SQL(", ").join(_source(name) for name in wanted)


def _relation(stream: Stream, condition: Callable[[Composable], Composable] | None = None) -> Composed:
    """What is read. The author's query may say where a condition on the cursor goes; by default all rows meet it."""
    if stream.table is not None:
        return SQL("{} AS source").format(identifier(stream.table))

    def placed(expression: str) -> str:
        return "TRUE" if condition is None else condition(SQL(expression)).as_string(None)

    return SQL("(\n{}\n) AS source").format(SQL(place(without_end(stream.sql or ""), placed)))


def _source(name: str) -> Identifier:
    return Identifier("source", name)


def find_null_cursor(stream: Stream) -> Composed:
    """Whether any row has no cursor value."""
    return SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(
        _relation(stream), _all_of([*_author_condition(stream), _is_null(stream.cursor_field)])
    )


# -- the window -------------------------------------------------------------------------------------------

READ_CLOCK = SQL("""
SELECT
    clock_timestamp()::text,
    pg_is_in_recovery(),
    pg_last_xact_replay_timestamp()::text
""")

READ_ACTIVITY = SQL("""
SELECT
    min(least(xact_start, CASE WHEN state = 'active' THEN query_start END))::text,
    count(*) FILTER (WHERE state = 'disabled'),
    count(*) FILTER (WHERE backend_type IS NULL)
FROM pg_stat_activity
WHERE datname = current_database()
    AND pid <> pg_backend_pid()
    AND (backend_type IS NULL OR backend_type NOT IN ('autovacuum worker', 'walsender'))
""")
"""Of a session that this login may not see, the view leaves the backend_type out as well."""

READ_TRANSACTIONS_IN_FLIGHT = SQL("""
SELECT pid || ' ' || extract(epoch FROM coalesce(xact_start, query_start))
FROM pg_stat_activity
WHERE datname = current_database()
    AND pid <> pg_backend_pid()
    AND backend_type NOT IN ('autovacuum worker', 'walsender')
    AND (xact_start IS NOT NULL OR state = 'active')
UNION ALL
SELECT 'prepared ' || gid
FROM pg_prepared_xacts
WHERE database = current_database()
""")

COUNT_PREPARED = SQL("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")

CAN_SEE_OTHERS = SQL("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")

CAP_TIMESTAMPTZ = SQL("""
SELECT greatest(
    %(low)s::timestamptz,
    least(%(clock)s::timestamptz, %(oldest)s::timestamptz) - %(margin)s::interval - %(lag)s::interval
)::text
""")

# The smallest local time that any instant from the cap on can have. A clock that is set back repeats at most
# a day, and zones change at whole quarters of an hour.
CAP_TIMESTAMP = SQL("""
WITH cap (instant) AS (
    SELECT least(%(clock)s::timestamptz, %(oldest)s::timestamptz) - %(margin)s::interval - %(lag)s::interval
), local (at) AS (
    SELECT min(instant AT TIME ZONE current_setting('TimeZone'))
    FROM (
        SELECT instant FROM cap
        UNION ALL
        SELECT quarter
        FROM cap
        CROSS JOIN generate_series(date_trunc('hour', instant), instant + interval '25 hours', '15 minutes') AS quarter
        WHERE quarter >= instant
    ) AS instants
)
SELECT greatest(%(low)s::timestamp, at)::text FROM local
""")


def cap_date() -> Composed:
    """The local date of the cap."""
    inner = CAP_TIMESTAMP.as_string(None).replace("%(low)s::timestamp", "%(low)s::date::timestamp")
    return SQL("SELECT CAST(({}) AS date)::text").format(SQL(inner))


READ_TRANSACTION_BOUNDS = SQL("""
SELECT pg_snapshot_xmin(snapshot)::text, pg_snapshot_xmax(snapshot)::text
FROM pg_current_snapshot() AS snapshot
""")
"""Below the first every transaction has ended; the second is the next to begin."""


def whole_xid(next_xid: Composable, xid: Composable) -> Composed:
    """A row's 32-bit transaction id in the 64 bits of the next one, which it must come before.

    It is exact for the last two thousand million transactions. Rows that are older are frozen; they get some number
    below the next, so that they may be read once too often, never too seldom
    (`manual <https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND>`__).
    """
    return SQL("({0} - mod({0} - CAST(CAST({1} AS text) AS bigint), 4294967296))").format(next_xid, xid)


def read_maximum(stream: Stream, cursor_type: CursorType) -> Composed:
    """The largest cursor value there is, as text; infinity and NaN do not count, since nothing grows above them."""
    conditions = _author_condition(stream)
    if cursor_type == "numeric":
        conditions.append(SQL("{} < numeric 'Infinity'").format(_source(stream.cursor_field)))
    return SQL("SELECT max({})::text\nFROM {}\nWHERE {}").format(
        _source(stream.cursor_field), _relation(stream), _all_of(conditions)
    )


def highest(plain_type: str, *, with_lag: bool) -> Composed:
    """The highest of the low and the fence that has cleared, less the lag."""
    lagged = SQL("%(fence)s::{} - %(lag)s").format(SQL(plain_type))
    fence = lagged if with_lag else SQL("%(fence)s::{}").format(SQL(plain_type))
    return SQL("SELECT CAST(greatest(%(low)s::{}, {}) AS text)").format(SQL(plain_type), fence)


def as_canonical_text(plain_type: str) -> Composed:
    """A value that a person wrote, as PostgreSQL writes it."""
    return SQL("SELECT CAST(%(value)s AS {})::text").format(SQL(plain_type))


# -- reading ----------------------------------------------------------------------------------------------


def read_by_key(stream: Stream, columns: Sequence[StreamColumn], order: Sequence[str], after: Composable | None) -> str:
    """Everything, in the order of the key, which is always indexed; where it is not unique, then of the cursor."""
    conditions = _author_condition(stream)
    if stream.on_cursor_null == "exclude":
        conditions.append(SQL("{} IS NOT NULL").format(_source(stream.cursor_field)))
    return _read(stream, columns, conditions, order, after)


def read_window(
    stream: Stream,
    columns: Sequence[StreamColumn],
    key: Sequence[str],
    cursor_type: str,
    bounds: Sequence[str],
    after: Composable | None,
) -> str:
    """The window's rows, in the order of the cursor; ``bounds`` names those of low and below that are set.

    Where the author's query places the window, it stands there and not around the query.
    """

    def comparisons(expression: Composable) -> list[Composable]:
        return [
            SQL("{} {} {}").format(expression, SQL(sign), _setting_value(bound, cursor_type))
            for bound, sign in (("low", ">="), ("below", "<"))
            if bound in bounds
        ]

    def is_within(expression: Composable) -> Composable:
        return SQL("({})").format(_all_of(comparisons(expression)))

    around = [] if is_placed(stream.sql or "") else comparisons(_source(stream.cursor_field))
    conditions = [*_author_condition(stream), *around]
    return _read(stream, columns, conditions, [stream.cursor_field, *key], after, is_within)


def read_transactions(
    stream: Stream, columns: Sequence[StreamColumn], key: Sequence[str], after: Composable | None
) -> str:
    """The rows that transactions from low on have written, in the order of the key; no index helps to find them."""
    next_xid = SQL("(SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint))")
    is_new = SQL("{} >= {}").format(whole_xid(next_xid, _source(XMIN)), _setting_value("low", "bigint"))
    return _read(stream, columns, [*_author_condition(stream), is_new], key, after)


def read_null_cursors(
    stream: Stream, columns: Sequence[StreamColumn], key: Sequence[str], after: Composable | None
) -> str:
    """The rows without a cursor value, which no window holds."""

    def is_null(expression: Composable) -> Composable:
        return SQL("({} IS NULL)").format(expression)

    return _read(stream, columns, [*_author_condition(stream), _is_null(stream.cursor_field)], key, after, is_null)


def rows_after(order: Sequence[StreamColumn], *, is_key_unique: bool) -> Composed:
    """Only rows behind a position, whose values stand in the settings after_0, after_1 and so on.

    Where a key may stand twice or be NULL, rows may be level with the position, or the comparison NULL: such
    rows are read again rather than lost.
    """
    names = SQL(", ").join(_source(column.name) for column in order)
    values = SQL(", ").join(_setting_value(f"after_{place}", column.plain_type) for place, column in enumerate(order))
    if is_key_unique:
        return SQL("ROW({}) > ROW({})").format(names, values)
    return SQL("(ROW({}) >= ROW({})) IS NOT FALSE").format(names, values)


def _read(
    stream: Stream,
    columns: Sequence[StreamColumn],
    conditions: list[Composable],
    order: Sequence[str],
    after: Composable | None,
    placed: Callable[[Composable], Composable] | None = None,
) -> str:
    return (
        SQL("SELECT {}\nFROM {}\nWHERE {}\nORDER BY {}")
        .format(
            SQL(", ").join(_selected(column) for column in columns),
            _relation(stream, placed),
            _all_of(conditions if after is None else [*conditions, after]),
            SQL(", ").join(_source(name) for name in dict.fromkeys(order)),
        )
        .as_string(None)
    )


def _selected(column: StreamColumn) -> Composable:
    if column.is_exact:
        return _source(column.name)
    return SQL("CAST({} AS text) AS {}").format(_source(column.name), Identifier(column.name))


def _author_condition(stream: Stream) -> list[Composable]:
    return [SQL("(\n{}\n)").format(SQL(stream.where))] if stream.where else []


def _is_null(name: str) -> Composed:
    return SQL("{} IS NULL").format(_source(name))


def _all_of(conditions: Sequence[Composable]) -> Composable:
    return SQL("\n    AND ").join(conditions) if conditions else SQL("TRUE")


# -- the target -------------------------------------------------------------------------------------------

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
    lines.append(SQL("PRIMARY KEY ({})").format(_names(key)))
    return SQL("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)").format(identifier(table), SQL(",\n    ").join(lines))


BE_PATIENT = SQL("SET LOCAL lock_timeout = '30s'")
"""While a change of a table waits for its readers, all others wait behind it."""


def add_column(table: TableName, name: str, type_: str) -> Composed:
    """Add a column that another load may have added already."""
    return SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(identifier(table), Identifier(name), SQL(type_))


def widen_column(table: TableName, name: str, type_: str) -> Composed:
    """Give a column a type that holds more."""
    return SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(identifier(table), Identifier(name), SQL(type_))


def _names(names: Sequence[str]) -> Composed:
    return SQL(", ").join(Identifier(name) for name in names)


# -- staging ----------------------------------------------------------------------------------------------

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
    staged = Identifier("staged", column)
    if target_type in _CAST_IS_NO_INPUT:
        return SQL("CAST(CAST({} AS bpchar) AS {})").format(staged, SQL(target_type))
    if encoding is None:
        return SQL("CAST({} AS {})").format(staged, SQL(target_type))
    return SQL("CAST({} AS {})").format(_from_postgres_integer(staged, encoding), SQL(target_type))


# The cast from text takes only names, where the type's own input takes all that its output gives; from bpchar
# there is no cast, so that PostgreSQL goes through the input.
_CAST_IS_NO_INPUT = frozenset({"regclass"})


def _from_postgres_integer(staged: Identifier, base_type: str) -> Composed:
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


# -- rows that cannot be loaded ---------------------------------------------------------------------------


def staged_text(column: str, encoding: str | None) -> Composed:
    """A staged value as PostgreSQL writes it."""
    return read_staged(column, encoding, "text")


def has_no_key(key: Sequence[str]) -> Composed:
    """Whether a staged row has NULL in its key."""
    return SQL("({})").format(SQL(" OR ").join(SQL("{} IS NULL").format(Identifier("staged", name)) for name in key))


def has_value(column: str) -> Composed:
    """Whether a staged row has a value in a column."""
    return SQL("({} IS NOT NULL)").format(Identifier("staged", column))


def take_out(name: str, condition: Composable, returned: Sequence[Composable]) -> Composed:
    """Take the rows that meet a condition out of the staging."""
    return SQL("DELETE FROM {} AS staged\nWHERE {}\nRETURNING {}").format(
        Identifier(STATE_SCHEMA, name), condition, SQL(", ").join(returned)
    )


def number_staged(name: str, key: Sequence[str], oldest_first: Sequence[str]) -> Composed:
    """Number the staged rows: all rows of a key make one piece, the newest of them has the highest number."""
    order = SQL("").join(SQL(", {} NULLS FIRST").format(Identifier("staged", column)) for column in oldest_first)
    return SQL("""CREATE UNLOGGED TABLE {numbered} AS
SELECT
    staged.ctid AS place,
    dense_rank() OVER (ORDER BY {key}) AS piece,
    row_number() OVER (ORDER BY {key}{order}, staged.ctid) AS number
FROM {staging} AS staged""").format(
        numbered=_numbered(name),
        key=SQL(", ").join(Identifier("staged", column) for column in key),
        order=order,
        staging=Identifier(STATE_SCHEMA, name),
    )


def index_numbers(name: str, column: str) -> Composed:
    """Make rows quick to find by their number or piece."""
    return SQL("CREATE INDEX ON {} ({})").format(_numbered(name), Identifier(column))


def count_pieces(name: str) -> Composed:
    """The number of the last piece; NULL where there is none."""
    return SQL("SELECT max(piece)\nFROM {}").format(_numbered(name))


def numbers_of_piece(name: str, piece: int) -> Composed:
    """The rows of one piece, the newest first."""
    return SQL("SELECT number\nFROM {}\nWHERE piece = {}\nORDER BY number DESC").format(_numbered(name), Literal(piece))


def is_within(name: str, column: str, first: int, last: int) -> Composed:
    """Whether a staged row's piece or number lies between two."""
    return SQL("staged.ctid = ANY (ARRAY(SELECT place FROM {} WHERE {} BETWEEN {} AND {}))").format(
        _numbered(name), Identifier(column), Literal(first), Literal(last)
    )


def drop_numbers(name: str) -> Composed:
    """Drop the numbering."""
    return SQL("DROP TABLE IF EXISTS {}").format(_numbered(name))


def _numbered(name: str) -> Identifier:
    return Identifier(STATE_SCHEMA, f"{name}_numbered")


def find_watched(name: str, key: Sequence[Composable]) -> Composed:
    """Those of the watched keys, one text array a column, of which a row is staged."""
    columns = [SQL("watched.{}").format(Identifier(f"k{place}")) for place in range(len(key))]
    arrays = SQL(", ").join(SQL("%s::text[]") for _ in key)
    same = SQL(" AND ").join(SQL("{} = {}").format(column, value) for column, value in zip(columns, key, strict=True))
    return SQL("""SELECT {columns}
FROM unnest({arrays}) AS watched ({names})
WHERE EXISTS (SELECT FROM {staging} AS staged WHERE {same})""").format(
        columns=SQL(", ").join(columns),
        arrays=arrays,
        names=_names([f"k{place}" for place in range(len(key))]),
        staging=_beside_values(Identifier(STATE_SCHEMA, name)),
        same=_beside_values(same),
    )


def _beside_values(part: Composable) -> SQL:
    """A part of a statement that has placeholders, in which the per cent signs of names are none."""
    return SQL(part.as_string(None).replace("%", "%%"))


# -- merging ----------------------------------------------------------------------------------------------


def merge(
    table: TableName,
    staging: str,
    expressions: Sequence[tuple[str, Composable]],
    key: Sequence[str],
    newest_first: Sequence[str],
    rules: LoadRules,
    *,
    has_identity: bool,
    is_partitioned: bool,
    within: Composable | None = None,
    revives: bool = False,
) -> Composed:
    """Merge the staged rows into the target, and count the rows inserted and updated.

    Rows go in in the order of the key, so that parallel merges lock in one order. Of several rows of one key
    the one with the highest value in ``newest_first`` wins, among equals the last staged (``ctid`` grows along a
    single COPY).

    :param within: a condition that takes only some of the staged rows
    :param revives: whether the target can flag rows as deleted: over such a row any incoming row wins, whole
    """
    names = [name for name, _ in expressions]
    managed = [rules.synced_at_column] if rules.synced_at_column else []
    return SQL("""WITH source AS (
    SELECT DISTINCT ON ({key}) {names}
    FROM (
        SELECT {expressions}, staged.ctid AS {place}
        FROM {staging} AS staged{within}
    ) AS staged
    ORDER BY {key}{newest}, {place} DESC
), merged AS (
    INSERT INTO {target} AS target ({written})
    {overriding}SELECT {values}
    FROM source
    ON CONFLICT ({key}) {resolution}
    RETURNING {returned}
)
{counts}""").format(
        key=_names(key),
        place=Identifier(_free_name("etl_sync.place", names)),
        names=_names(names),
        expressions=SQL(", ").join(
            SQL("{} AS {}").format(expression, Identifier(name)) for name, expression in expressions
        ),
        staging=Identifier(STATE_SCHEMA, staging),
        within=SQL("") if within is None else SQL("\n        WHERE {}").format(within),
        newest=SQL("").join(SQL(", {} DESC NULLS LAST").format(Identifier(name)) for name in newest_first),
        target=identifier(table),
        written=_names([*names, *managed]),
        values=SQL(", ").join([*(Identifier("source", name) for name in names), *(SQL("now()") for _ in managed)]),
        overriding=SQL("OVERRIDING SYSTEM VALUE\n    ") if has_identity else SQL(""),
        resolution=_resolution(names, key, rules, revives=revives),
        returned=_key_of_target(key) if is_partitioned else SQL("xmax = 0 AS is_new"),
        counts=_counts_by_key(table, key) if is_partitioned else _COUNTS,
    )


CHECK_CONSTRAINTS = SQL("SET CONSTRAINTS ALL IMMEDIATE")
"""Ask at once what a deferred constraint would only ask at the commit, when nothing can be set aside any more."""


def _free_name(wanted: str, taken: Sequence[str]) -> str:
    return _free_name(f"{wanted}_", taken) if wanted in taken else wanted


# a row that was there had to be locked, which its successor's xmax still shows
_COUNTS = SQL("""SELECT
    count(*) FILTER (WHERE is_new),
    count(*) FILTER (WHERE NOT is_new)
FROM merged""")


def _counts_by_key(table: TableName, key: Sequence[str]) -> Composed:
    """Partitioned tables return no xmax. This query still sees the target as it was before the merge."""
    same_key = SQL(" AND ").join(
        SQL("{} = {}").format(Identifier("before", name), Identifier("merged", name)) for name in key
    )
    return SQL("""SELECT
    count(*) FILTER (WHERE before.tableoid IS NULL),
    count(*) FILTER (WHERE before.tableoid IS NOT NULL)
FROM merged
LEFT JOIN {} AS before ON {}""").format(identifier(table), same_key)


def _key_of_target(key: Sequence[str]) -> Composed:
    return SQL(", ").join(Identifier("target", name) for name in key)


def _resolution(names: Sequence[str], key: Sequence[str], rules: LoadRules, *, revives: bool) -> Composable:
    """What happens to a row that is there already."""
    others = [name for name in names if name not in key]
    stays = rules.conflict == "dest_wins" or not others
    if stays and not revives:
        return SQL("DO NOTHING")
    new = {name: _new_value(name, rules, revives=revives) for name in others}
    changes = [SQL("{} = {}").format(Identifier(name), value) for name, value in new.items()]
    if rules.synced_at_column:
        changes.append(SQL("{} = now()").format(Identifier(rules.synced_at_column)))
    if revives:
        changes.append(SQL("{} = FALSE").format(Identifier(SOFT_DELETED)))
    condition = _is_flagged() if stays else _is_to_change(new, rules)
    if revives and not stays:
        condition = SQL("{}\n        OR {}").format(_is_flagged(), condition)
    return SQL("DO UPDATE SET\n        {}\n    WHERE {}").format(SQL(",\n        ").join(changes), condition)


def _is_to_change(new: dict[str, Composable], rules: LoadRules) -> Composable:
    """Whether a row that is there already differs from the incoming one, which may overwrite it."""
    differs = SQL("ROW({})::record *<> ROW({})::record").format(
        SQL(", ").join(new.values()), SQL(", ").join(Identifier("target", name) for name in new)
    )
    if rules.conflict == "latest_wins" and rules.conflict_field:
        return SQL("{}\n        AND {}").format(_is_as_new(rules.conflict_field), differs)
    return differs


def _is_flagged() -> Composed:
    return SQL("{} IS TRUE").format(Identifier("target", SOFT_DELETED))


def _new_value(name: str, rules: LoadRules, *, revives: bool) -> Composable:
    incoming = Identifier("excluded", name)
    if rules.conflict != "merge_non_null":
        return incoming
    kept = SQL("coalesce({}, {})").format(incoming, Identifier("target", name))
    return SQL("CASE WHEN {} THEN {} ELSE {} END").format(_is_flagged(), incoming, kept) if revives else kept


def _is_as_new(field: str) -> Composed:
    """A row without the field is older than any other."""
    return SQL("({target} IS NULL OR {incoming} >= {target})").format(
        target=Identifier("target", field), incoming=Identifier("excluded", field)
    )


# -- reconciling ------------------------------------------------------------------------------------------

PLAIN_TYPES = SQL("""
SELECT format_type(to_regtype(given.type), -1)
FROM unnest(%(types)s::text[]) WITH ORDINALITY AS given (type, place)
ORDER BY given.place
""")
"""Types without length or precision, which an explicit cast would cut or round to; NULL where there is none."""

LIMIT_WAITS = SQL("""
SELECT
    set_config('lock_timeout', %(lock)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle)s, true)
""")

PIN_SETTING = SQL("SELECT set_config(%(name)s, %(value)s, true)")

LIMIT_TIME = SQL("SELECT set_config('statement_timeout', %(time)s, true)")

REPEATABLE_READ = SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def find_present(stream: Stream, types: Sequence[str]) -> Composed:
    """Which of the given keys the stream has: their places, from 1. Column by column they are $1, $2 and so on.

    The condition on single columns says nothing new: it is what the database can push into the author's query.

    :param types: of the key's columns, without length or precision
    """
    key = stream.primary_key
    narrow = [
        SQL("{} = ANY(CAST(CAST({} AS text[]) AS {}[]))").format(_source(name), SQL(f"${place}"), SQL(type_))
        for place, (name, type_) in enumerate(zip(key, types, strict=True), start=1)
        if not type_.endswith("]")
    ]
    asked = [Identifier(f"key_{place}") for place in range(len(key))]
    same = [
        SQL("found.{} = CAST(asked.{} AS {})").format(Identifier(name), text, SQL(type_))
        for name, text, type_ in zip(key, asked, types, strict=True)
    ]
    return SQL("""WITH found AS (
    SELECT {key}
    FROM {relation}
    WHERE {conditions}
)
SELECT DISTINCT asked.place
FROM unnest({arrays}) WITH ORDINALITY AS asked ({asked}, place)
JOIN found ON {same}""").format(
        key=SQL(", ").join(_source(name) for name in key),
        relation=_relation(stream),
        conditions=_all_of([*_author_condition(stream), *narrow]),
        arrays=SQL(", ").join(SQL(f"CAST(${place} AS text[])") for place in range(1, len(key) + 1)),
        asked=SQL(", ").join(asked),
        same=SQL(" AND ").join(same),
    )


def analyze_staging(name: str) -> Composed:
    """Count what the planner wants to know: nothing else does for a table without autovacuum."""
    return SQL("ANALYZE {}").format(Identifier(STATE_SCHEMA, name))


def count_compared(table: TableName, key: Sequence[str], scope: str | None, *, live_only: bool) -> Composed:
    """How many rows of the target are compared."""
    return SQL("SELECT count(*)\nFROM {} AS target\nWHERE {}").format(
        identifier(table), _all_of(_compared(key, scope, live_only=live_only))
    )


def create_suspects(
    table: TableName,
    staging: str,
    suspects: str,
    key: Sequence[tuple[str, Composable]],
    scope: str | None,
    *,
    live_only: bool,
    has_flag: bool,
) -> Composed:
    """Number the rows that are not at the source, and the flagged ones that are, and keep their keys.

    :param key: names, and their staged values in the target's types
    :param live_only: whether flagged rows that are not at the source are as they should be
    """
    names = [name for name, _ in key]
    kept = [SQL("target.{} AS {}").format(Identifier(name), Identifier(f"key_{n}")) for n, name in enumerate(names)]
    staged = SQL("EXISTS (\n        SELECT FROM {} AS staged\n        WHERE {}\n    )").format(
        Identifier(STATE_SCHEMA, staging),
        SQL(" AND ").join(SQL("{} = target.{}").format(value, Identifier(name)) for name, value in key),
    )
    absent = [*_compared(names, scope, live_only=live_only), SQL("NOT {}").format(staged)]
    returned = [*_compared(names, scope, live_only=False), _is_flagged(), staged]
    wanted = [(absent, SQL("FALSE")), (returned, SQL("TRUE"))] if has_flag else [(absent, SQL("FALSE"))]
    return SQL("""CREATE UNLOGGED TABLE {suspects} WITH (autovacuum_enabled = false) AS
SELECT row_number() OVER (ORDER BY {order}) AS place, suspect.*
FROM (
{rows}
) AS suspect""").format(
        suspects=Identifier(STATE_SCHEMA, suspects),
        order=SQL(", ").join(Identifier(f"key_{place}") for place in range(len(key))),
        rows=SQL("\nUNION ALL\n").join(
            SQL("SELECT {}, {} AS is_present\nFROM {} AS target\nWHERE {}").format(
                SQL(", ").join(kept), is_present, identifier(table), _all_of(conditions)
            )
            for conditions, is_present in wanted
        ),
    )


def _compared(key: Sequence[str], scope: str | None, *, live_only: bool) -> list[Composable]:
    """Rows without a key were not put there by a sync."""
    conditions: list[Composable] = [SQL("(\n{}\n)").format(SQL(scope))] if scope else []
    conditions += [SQL("target.{} IS NOT NULL").format(Identifier(name)) for name in key]
    return [*conditions, SQL("{} IS NOT TRUE").format(Identifier("target", SOFT_DELETED))] if live_only else conditions


def index_suspects(suspects: str) -> Composed:
    """Let a block's rows be found by their numbers."""
    return SQL("ALTER TABLE {} ADD PRIMARY KEY (place)").format(Identifier(STATE_SCHEMA, suspects))


def count_suspects(suspects: str) -> Composed:
    """How many are not at the source, and how many flagged ones are."""
    return SQL("SELECT count(*) FILTER (WHERE NOT is_present), count(*) FILTER (WHERE is_present)\nFROM {}").format(
        Identifier(STATE_SCHEMA, suspects)
    )


def read_suspects(suspects: str, types: Sequence[str]) -> Composed:
    """A block of keys as text of the types that the source has."""
    keys = [
        SQL("CAST(CAST({} AS {}) AS text)").format(Identifier(f"key_{place}"), SQL(type_))
        for place, type_ in enumerate(types)
    ]
    return SQL(
        "SELECT place, is_present, {}\nFROM {}\nWHERE place BETWEEN %(first)s AND %(last)s\nORDER BY place"
    ).format(SQL(", ").join(keys), Identifier(STATE_SCHEMA, suspects))


def lock_writers_out(table: TableName) -> Composed:
    """Until the transaction ends nobody else writes to the table; everybody may read it."""
    return SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(identifier(table))


def add_flag(table: TableName) -> Composed:
    """Add the column that flags rows as deleted."""
    return SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} boolean NOT NULL DEFAULT FALSE").format(
        identifier(table), Identifier(SOFT_DELETED)
    )


def delete_suspects(table: TableName, suspects: str, key: Sequence[str], scope: str | None) -> Composed:
    """Delete the rows of the suspects whose numbers are $1."""
    return SQL("DELETE FROM {} AS target\nWHERE {}").format(
        identifier(table), _all_of([*_compared(key, scope, live_only=False), _is_suspect(suspects, key)])
    )


def flag_suspects(
    table: TableName, suspects: str, key: Sequence[str], scope: str | None, synced_at_column: str | None, *, flag: bool
) -> Composed:
    """Flag the rows of the suspects whose numbers are $1 as deleted, or take their flag off."""
    changes = [SQL("{} = {}").format(Identifier(SOFT_DELETED), SQL("TRUE" if flag else "FALSE"))]
    if synced_at_column:
        changes.append(SQL("{} = now()").format(Identifier(synced_at_column)))
    differs = SQL("{} IS {}").format(Identifier("target", SOFT_DELETED), SQL("NOT TRUE" if flag else "TRUE"))
    return SQL("UPDATE {} AS target\nSET {}\nWHERE {}").format(
        identifier(table),
        SQL(", ").join(changes),
        _all_of([*_compared(key, scope, live_only=False), differs, _is_suspect(suspects, key)]),
    )


def _is_suspect(suspects: str, key: Sequence[str]) -> Composed:
    same = [
        SQL("suspect.{} = target.{}").format(Identifier(f"key_{place}"), Identifier(name))
        for place, name in enumerate(key)
    ]
    return SQL(
        "EXISTS (\n        SELECT FROM {} AS suspect\n        WHERE suspect.place = ANY($1) AND {}\n    )"
    ).format(Identifier(STATE_SCHEMA, suspects), SQL(" AND ").join(same))
