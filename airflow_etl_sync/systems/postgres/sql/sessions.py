"""Settings of a session or transaction."""

from __future__ import annotations

from psycopg.sql import SQL, Composed, Literal

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


def setting_value(name: str, plain_type: str) -> Composed:
    """The value that a transaction-local setting holds."""
    return SQL("CAST(current_setting({}) AS {})").format(Literal(setting(name)), SQL(plain_type))


IS_NOTHING_REWRITTEN = """
SELECT coalesce(bool_and(
    pg_class.oid IS NOT NULL
    AND (pg_class.relfilenode = 0 OR pg_class.relfilenode = pg_relation_filenode(pg_class.oid))
), true)
FROM pg_locks
LEFT JOIN pg_class ON pg_class.oid = pg_locks.relation
WHERE pg_locks.pid = pg_backend_pid() AND pg_locks.locktype = 'relation'
"""
"""The row of pg_class is that of the snapshot, and there is none of a table made since; the function tells of now."""


def plan(statement: str) -> str:
    """Plan a statement, which locks the tables that it reads until the transaction ends."""
    return SQL("EXPLAIN {}").format(SQL(statement)).as_string(None)


def estimate(statement: str) -> Composed:
    """Plan a statement and tell what is expected of it, in JSON."""
    return SQL("EXPLAIN (FORMAT JSON) {}").format(SQL(statement))


BE_PATIENT = SQL("SET LOCAL lock_timeout = '30s'")
"""While a change of a table waits for its readers, all others wait behind it."""


LIMIT_LOCKS = SQL("SELECT set_config('lock_timeout', %(lock)s, false)")
"""For the whole session."""


LIMIT_WAITS = SQL("""
SELECT
    set_config('lock_timeout', %(lock)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle)s, true)
""")


PIN_SETTING = SQL("SELECT set_config(%(name)s, %(value)s, true)")


LIMIT_TIME = SQL("SELECT set_config('statement_timeout', %(time)s, true)")


REPEATABLE_READ = SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
