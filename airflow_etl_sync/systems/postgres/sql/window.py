"""How far every change has surely been seen."""

from __future__ import annotations

from psycopg.sql import SQL, Composable, Composed, Literal

from airflow_etl_sync.core.model import CursorType, CursorValue, Stream
from airflow_etl_sync.systems.postgres.sql.names import all_of
from airflow_etl_sync.systems.postgres.sql.streams import author_condition, relation, source_column

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
"""Below the first every transaction has ended; from the second on none has."""


READ_OLDEST_TRANSACTION = "SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)"


READ_LOG_END = SQL("SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END::text")
"""A standby has none of its own: what it shows was on its primary's disk before."""


IS_LOG_ON_DISK = SQL("""
SELECT CASE WHEN pg_is_in_recovery() THEN TRUE ELSE pg_current_wal_flush_lsn() >= %(end)s::pg_lsn END
""")


TAKE_XID = SQL("SELECT pg_current_xact_id()")
"""A transaction that has an id and nothing else: its end makes the server bring the log before it to the disk."""


def whole_xid(next_xid: Composable, xid: Composable) -> Composed:
    """A row's 32-bit transaction id in the 64 bits of the next one, which it must come before.

    It is exact for the last two thousand million transactions. Rows that are older are frozen; they get some number
    below the next, so that they may be read once too often, never too seldom
    (`manual <https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND>`__).
    """
    return SQL("({0} - mod({0} - CAST(CAST({1} AS text) AS bigint), 4294967296))").format(next_xid, xid)


def read_maximum(stream: Stream, cursor_type: CursorType, plain_type: str, low: CursorValue | None) -> Composed:
    """The largest cursor value there is, as text; infinity and NaN do not count, since nothing grows above them.

    Where the author's query places the window, only values from low on are looked at, so that an index serves it.
    """

    def is_from_low(expression: Composable) -> Composable:
        if low is None:
            return SQL("TRUE")
        return SQL("({} >= CAST({} AS {}))").format(expression, Literal(low.text), SQL(plain_type))

    conditions = author_condition(stream)
    if cursor_type == "numeric":
        conditions.append(SQL("{} < numeric 'Infinity'").format(source_column(stream.cursor_field)))
    return SQL("SELECT max({})::text\nFROM {}\nWHERE {}").format(
        source_column(stream.cursor_field), relation(stream, is_from_low), all_of(conditions)
    )


def highest(plain_type: str, *, with_lag: bool) -> Composed:
    """The highest of the low and the fence that has cleared, less the lag."""
    lagged = SQL("%(fence)s::{} - %(lag)s").format(SQL(plain_type))
    fence = lagged if with_lag else SQL("%(fence)s::{}").format(SQL(plain_type))
    return SQL("SELECT CAST(greatest(%(low)s::{}, {}) AS text)").format(SQL(plain_type), fence)


def as_canonical_text(plain_type: str) -> Composed:
    """A value that a person wrote, as PostgreSQL writes it."""
    return SQL("SELECT CAST(%(value)s AS {})::text").format(SQL(plain_type))
