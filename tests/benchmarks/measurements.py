"""The table that is synced: 15 columns of mixed types, about 350 bytes a row, and what changes in it."""

from __future__ import annotations

import psycopg

MOOD = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')"
COLUMNS = {
    "id": "bigint PRIMARY KEY",
    "token": "uuid NOT NULL",
    "amount": "integer",
    "name": "text",
    "mood": "mood",
    "price": "numeric(12, 2)",
    "currency": "char(3)",
    "is_open": "boolean",
    "note": "text",
    "details": "jsonb",
    "tags": "text[]",
    "weight": "double precision",
    "place": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamptz NOT NULL",
}
CREATE = "CREATE TABLE measurement (\n    {}\n)".format(
    ",\n    ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
)
ROWS_FROM = """
INSERT INTO measurement
SELECT
    i, md5(i::text)::uuid, i %% 1000, 'a name of some length ' || md5(i::text),
    (ARRAY['sad', 'ok', 'happy'])[1 + i %% 3]::mood, i / 7.0, 'EUR', i %% 2 = 0,
    CASE WHEN i %% 4 = 0 THEN md5((-i)::text) END,
    jsonb_build_object('number', i, 'text', md5(i::text), 'list', jsonb_build_array(i, i + 1)),
    ARRAY['one', md5(i::text)], sqrt(i), 'a place ' || i %% 100,
    timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second', {updated_at}
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
"""
UPDATED_IN_PAST = "timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second'"
CHANGE = """
UPDATE measurement SET amount = amount + 1, note = 'changed', updated_at = now()
WHERE id IN (SELECT 1 + step * %(stride)s FROM generate_series(0, %(changed)s - 1) AS step)
"""
FINGERPRINT = """
SELECT count(*) || ' rows, ' || coalesce(sum(hashtextextended(row(
    id::bigint, token::text, amount::bigint, name::text, mood::text, price::numeric, rtrim(currency::text), is_open,
    note::text, details::jsonb, to_jsonb(tags), weight::double precision, place::text, created_at, updated_at
)::text, 0)::numeric), 0)
FROM measurement
"""
"""One text for all values of all rows, in which types that stand for the same value do not tell."""


def create(source: str, rows: int) -> None:
    """Make the table with its rows, and the index on the cursor that a table to be synced has."""
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(MOOD)
        connection.execute(CREATE)
        _insert(connection, 1, rows, UPDATED_IN_PAST)
        connection.execute("CREATE INDEX ON measurement (updated_at)")
        connection.execute("VACUUM (FREEZE, ANALYZE) measurement")


def change(source: str, rows: int, changes: int) -> None:
    """Change rows all over the table, and add as many new ones.

    :param changes: how many rows in all, half of them new
    """
    changed = changes // 2
    with psycopg.connect(source, autocommit=True) as connection:
        with connection.transaction():
            connection.execute(CHANGE, {"stride": max(1, rows // max(1, changed)), "changed": changed})
            _insert(connection, rows + 1, rows + changes - changed, "now()")
        connection.execute("VACUUM (ANALYZE) measurement")


def fingerprint(conninfo: str) -> str:
    """What the table holds; equal texts are equal tables."""
    with psycopg.connect(conninfo, options="-c timezone=UTC -c extra_float_digits=3") as connection:
        row = connection.execute(FINGERPRINT).fetchone()
    assert row
    return str(row[0])


def largest_cursor(conninfo: str) -> str | None:
    """The largest cursor value there is."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SELECT max(updated_at)::text FROM measurement").fetchone()
    return row[0] if row else None


def _insert(connection: psycopg.Connection, first: int, last: int, updated_at: str) -> None:
    statement = ROWS_FROM.format(updated_at=updated_at).encode()
    connection.execute(statement, {"first": first, "last": last})
