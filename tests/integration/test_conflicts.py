"""Who wins where a row is there already, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from airflow_etl_sync.core.model import (
    Chunk,
    ConflictStrategy,
    Counts,
    LoadRules,
    RunIdentity,
    Stream,
    TableName,
    WindowRules,
)
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError
from airflow_etl_sync.state import ledger
from tests.carrying import Carrier

ITEMS = TableName("items", "public")
STREAM = Stream(sync_key="items", cursor_field="at", table=ITEMS)
AGAIN = WindowRules(full_refresh=True)
DDL = "CREATE TABLE items (id integer PRIMARY KEY, name text, price numeric, version integer, at timestamptz)"

THERE = [
    (1, "there", "1.0", 5, "2020-01-05 00:00+00"),
    (2, "there", "1.0", 5, "2020-01-05 00:00+00"),
    (3, "there", "1.0", 5, "2020-01-05 00:00+00"),
    (4, "there", "1.0", None, "2020-01-05 00:00+00"),
    (5, "there", "1.0", None, "2020-01-05 00:00+00"),
    (6, "there", "1.0", 5, "2020-01-05 00:00+00"),
    (7, "same", "1.0", 5, "2020-01-05 00:00+00"),
]
SENT = [
    (1, "sent", None, 4, "2020-01-06 00:00+00"),  # older
    (2, "sent", None, 5, "2020-01-06 00:00+00"),  # as new, and different
    (3, "sent", None, 6, "2020-01-06 00:00+00"),  # newer
    (4, "sent", None, 1, "2020-01-06 00:00+00"),  # any version beats none
    (5, "sent", None, None, "2020-01-06 00:00+00"),  # both have none
    (6, "sent", None, None, "2020-01-06 00:00+00"),  # none does not beat any
    (7, "same", "1.0", 5, "2020-01-05 00:00+00"),  # the same row
    (8, "sent", None, 1, "2020-01-06 00:00+00"),  # a new one
]


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    return Carrier(source_db, warehouse_db, tmp_path)


def insert(connection: psycopg.Connection, rows: list[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO items VALUES (%s, %s, %s, %s, %s)", rows)


@pytest.fixture
def tables(source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute(DDL)
    warehouse.execute(DDL)
    insert(source, SENT)
    insert(warehouse, THERE)


def names(warehouse: psycopg.Connection) -> dict[int, tuple[Any, ...]]:
    rows = warehouse.execute("SELECT id, name, price::text, version FROM items")
    return {row[0]: row[1:] for row in rows}


WINS = {1, 2, 3, 4, 5, 6}


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("strategy", "counts", "sent_ids"),
    [
        ("source_wins", Counts(inserted=1, updated=6, skipped=1), {1, 2, 3, 4, 5, 6, 8}),
        ("dest_wins", Counts(inserted=1, skipped=7), {8}),
        ("latest_wins", Counts(inserted=1, updated=4, skipped=3), {2, 3, 4, 5, 8}),
    ],
)
def test_who_wins(
    carrier: Carrier, warehouse: psycopg.Connection, strategy: ConflictStrategy, counts: Counts, sent_ids: set[int]
) -> None:
    rules = LoadRules(conflict=strategy, conflict_field="version")
    assert carrier.chain(STREAM, ITEMS, rules) == counts
    arrived = names(warehouse)
    there, sent = ({row[0]: row[1:4] for row in rows} for rows in (THERE, SENT))
    assert arrived == {id_: (sent if id_ in sent_ids else there)[id_] for id_ in sent}
    assert carrier.one_task(STREAM, ITEMS, rules, AGAIN).skipped == 8


@pytest.mark.usefixtures("tables")
def test_merge_non_null_takes_only_what_is_there_and_counts_only_what_changes(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO items VALUES (9, NULL, NULL, NULL, '2020-01-05 00:00+00')")
    warehouse.execute("INSERT INTO items VALUES (9, 'there', 1.0, 5, '2020-01-05 00:00+00')")
    rules = LoadRules(conflict="merge_non_null")
    assert carrier.chain(STREAM, ITEMS, rules) == Counts(inserted=1, updated=6, skipped=2)
    arrived = names(warehouse)
    assert arrived[6] == ("sent", "1.0", 5)
    assert arrived[1] == ("sent", "1.0", 4)
    assert arrived[9] == ("there", "1.0", 5)
    assert arrived[8] == ("sent", None, 1)
    assert carrier.one_task(STREAM, ITEMS, rules, AGAIN) == Counts(skipped=9)


@pytest.mark.usefixtures("tables")
def test_latest_wins_takes_the_cursor_where_no_field_is_named(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE items SET at = '2020-01-04 00:00+00' WHERE id = 1")
    rules = LoadRules(conflict="latest_wins")
    assert carrier.chain(STREAM, ITEMS, rules) == Counts(inserted=1, updated=5, skipped=2)
    assert names(warehouse)[1] == ("there", "1.0", 5)


@pytest.mark.usefixtures("tables")
def test_a_conflict_field_that_the_stream_lacks_is_refused(carrier: Carrier) -> None:
    with pytest.raises(ConfigurationError, match="nonesuch"):
        carrier.chain(STREAM, ITEMS, LoadRules(conflict="latest_wins", conflict_field="nonesuch"))


@pytest.mark.parametrize(
    ("type_", "there", "sent"),
    [
        ("numeric", "1.0", "1.00"),
        ("numeric", "0", "0.0"),
        ("double precision", "'0'", "'-0'"),
        ("interval", "'24 hours'", "'1 day'"),
        ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("timetz", "'00:00+00'", "'01:00+01'"),
        ("text", "''", "NULL"),
        ("char(3)", "'a'", "'b'"),
        ("numeric[]", "'{1.0}'", "'{1.00}'"),
        ("numrange", "'[1.0,2]'", "'[1.00,2]'"),
    ],
)
def test_equal_is_not_the_same(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, type_: str, there: str, sent: str
) -> None:
    for connection, value in ((source, sent), (warehouse, there)):
        connection.execute(f"CREATE TABLE items (id integer PRIMARY KEY, at date, value {type_})")
        connection.execute(f"INSERT INTO items VALUES (1, '2020-01-01', {value})")
    assert carrier.chain(STREAM, ITEMS) == Counts(updated=1)
    query = "SELECT value::text FROM items"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()
    assert carrier.one_task(STREAM, ITEMS, window=AGAIN) == Counts(skipped=1)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("strategy", ["source_wins", "dest_wins", "latest_wins", "merge_non_null"])
def test_synced_at_is_set_on_what_changed_and_only_there(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, strategy: ConflictStrategy
) -> None:
    warehouse.execute("ALTER TABLE items ADD COLUMN synced timestamptz")
    warehouse.execute("UPDATE items SET synced = '2000-01-01 00:00+00'")
    rules = LoadRules(conflict=strategy, conflict_field="version", synced_at_column="synced")
    counts = carrier.chain(STREAM, ITEMS, rules)
    set_now = "SELECT count(*) FROM items WHERE synced > now() - interval '1 hour'"
    assert warehouse.execute(set_now).fetchone() == (counts.inserted + counts.updated,)
    assert warehouse.execute("SELECT count(*) FROM items WHERE synced IS NULL").fetchone() == (0,)
    before = warehouse.execute("SELECT id, synced FROM items ORDER BY id").fetchall()
    assert carrier.one_task(STREAM, ITEMS, rules, AGAIN) == Counts(skipped=8)
    assert warehouse.execute("SELECT id, synced FROM items ORDER BY id").fetchall() == before


def test_synced_at_in_a_created_table(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(DDL)
    insert(source, SENT)
    assert carrier.chain(STREAM, ITEMS, LoadRules(synced_at_column="synced")) == Counts(inserted=8)
    assert warehouse.execute("SELECT count(*) FROM items WHERE synced IS NULL").fetchone() == (0,)
    assert warehouse.execute("SELECT pg_typeof(synced)::text FROM items LIMIT 1").fetchone() == (
        "timestamp with time zone",
    )


@pytest.mark.usefixtures("tables")
def test_synced_at_that_clashes_or_is_not_there_is_refused(carrier: Carrier) -> None:
    with pytest.raises(ConfigurationError, match="synced_at_column 'name' is a column of the stream too"):
        carrier.chain(STREAM, ITEMS, LoadRules(synced_at_column="name"))
    with pytest.raises(SchemaError, match="no column synced"):
        carrier.chain(STREAM, ITEMS, LoadRules(synced_at_column="synced"))


@pytest.mark.parametrize("strategy", ["source_wins", "dest_wins", "latest_wins", "merge_non_null"])
@pytest.mark.parametrize("form", ["chain", "one_task"])
@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_duplicates_of_a_key(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    form: str,
    strategy: ConflictStrategy,
    chunk_rows: int,
) -> None:
    """A stream without a unique key: of rows of one batch the latest wins, and every row is counted once."""
    source.execute("CREATE TABLE log (id integer, name text, at timestamptz)")
    source.execute("INSERT INTO log VALUES (1, 'b', '2020-01-02'), (1, 'c', '2020-01-03'), (1, 'a', '2020-01-01')")
    source.execute("INSERT INTO log VALUES (2, 'x', '2020-01-02')")
    carrier.chunk_rows = chunk_rows
    stream = Stream(sync_key="log", cursor_field="at", table=TableName("log", "public"), primary_key=("id",))
    counts = getattr(carrier, form)(stream, ITEMS, LoadRules(conflict=strategy))
    assert (counts.processed, counts.inserted, counts.errors) == (4, 2, 0)
    arrived = {id_: name for id_, name in warehouse.execute("SELECT id, name FROM items")}  # noqa: C416
    if strategy != "dest_wins" or chunk_rows == 100:  # what came in an earlier chunk is the destination's
        assert arrived == {1: "c", 2: "x"}


@pytest.mark.parametrize("form", ["chain", "one_task"])
@pytest.mark.parametrize("low", [None, "2019-01-01"], ids=["first", "window"])
def test_duplicates_of_a_key_are_not_lost_by_a_retry(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    low: str | None,
) -> None:
    """Rows level with the last one of a complete chunk are read again: nothing tells them apart."""
    source.execute("CREATE TABLE log (id integer, name text, at timestamptz)")
    source.execute("INSERT INTO log SELECT 1, n::text, '2020-01-02' FROM generate_series(1, 7) AS n")
    carrier.chunk_rows = 3
    monkeypatch.setattr(carrier, "_next_identity", lambda: RunIdentity("dag", "task", "run"))
    stream = Stream(
        sync_key="log",
        cursor_field="at",
        table=TableName("log", "public"),
        primary_key=("id",),
    )
    staged = ledger.record_extracted

    def die_after(connection: Connection, extraction_id: str, chunk: Chunk, after: dict[str, Any]) -> None:
        if chunk.number == 1:
            raise KeyboardInterrupt
        staged(connection, extraction_id, chunk, after)

    window = WindowRules(initial_value=low)
    with monkeypatch.context() as dying:
        dying.setattr(ledger, "record_extracted", die_after)
        with pytest.raises(KeyboardInterrupt):
            getattr(carrier, form)(stream, ITEMS, LoadRules(), window)
    counts = getattr(carrier, form)(stream, ITEMS, LoadRules(), window)
    assert counts.processed >= 7
    assert warehouse.execute("SELECT count(*) FROM items").fetchone() == (1,)


def test_no_key_is_null(carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute("CREATE TABLE log (id integer, at timestamptz)")
    source.execute("INSERT INTO log VALUES (1, now()), (NULL, now())")
    stream = Stream(sync_key="log", cursor_field="at", table=TableName("log", "public"), primary_key=("id",))
    with pytest.raises(DataError, match=r"1 rows for 'public\.items' have NULL in their key"):
        carrier.chain(stream, ITEMS)
    assert warehouse.execute("SELECT to_regclass('public.items')").fetchone() == (None,)
