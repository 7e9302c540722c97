"""An increment reads what changed, through an index, however large the table is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.demo.shop import Shop
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource

if TYPE_CHECKING:
    import psycopg

ORDERS = 20_000
ORDERS_QUERY = (Path(__file__).parents[2] / "dags" / "sql" / "orders.sql").read_text()
EITHER_CHANGED = """
WHERE orders.id IN (
    SELECT id
    FROM public.orders
    WHERE :window(updated_at)
    UNION ALL
    SELECT orders.id
    FROM public.users
    JOIN public.orders ON orders.user_id = users.id
    WHERE :window(users.updated_at)
)
"""

STREAMS = {
    "table": Stream(sync_key="orders", cursor_field="updated_at", table=TableName("orders", "public")),
    "query with joins": Stream(
        sync_key="orders", cursor_field="updated_at", sql=ORDERS_QUERY, primary_key=("order_id",)
    ),
    "query with two places": Stream(
        sync_key="orders", cursor_field="updated_at", sql=ORDERS_QUERY + EITHER_CHANGED, primary_key=("order_id",)
    ),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_an_increment_scans_no_whole_table(
    stream: Stream, source_db: str, warehouse_db: str, source: psycopg.Connection
) -> None:
    shop = Shop(source_db)
    shop.create(ORDERS)
    source.execute("VACUUM ANALYZE")
    assert _run(stream, source_db, warehouse_db, "first").inserted == ORDERS
    shop.change_orders(first=10, orders=20)

    before = _rows_scanned(source)
    counts = _run(stream, source_db, warehouse_db, "second")
    assert (counts.inserted, counts.updated) == (0, 20)
    assert _rows_scanned(source) == before


def test_a_change_of_the_joined_table_is_found_without_a_scan(
    source_db: str, warehouse_db: str, source: psycopg.Connection
) -> None:
    stream = STREAMS["query with two places"]
    Shop(source_db).create(ORDERS)
    source.execute("VACUUM ANALYZE")
    assert _run(stream, source_db, warehouse_db, "first").inserted == ORDERS
    source.execute("UPDATE users SET email = 'new@example.org' WHERE id = 3")

    before = _rows_scanned(source)
    counts = _run(stream, source_db, warehouse_db, "second")
    assert _rows_scanned(source) == before
    row = source.execute("SELECT count(*) FROM orders WHERE user_id = 3").fetchone()
    assert row is not None
    assert (counts.updated, row[0] > 0) == (row[0], True)


def _run(stream: Stream, source_db: str, warehouse_db: str, run_id: str) -> Counts:
    return sync(
        PostgresSource(PostgresAccess(source_db), stream),
        PostgresDestination(PostgresAccess(warehouse_db), TableName("orders")),
        stream=stream,
        window_rules=WindowRules(),
        load_rules=LoadRules(),
        identity=RunIdentity("dag", "task", run_id),
        chunk_rows=50_000,
    ).counts


def _rows_scanned(source: psycopg.Connection) -> int:
    """Rows read by sequential scans; a session reports its own when it ends."""
    row = source.execute(
        "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('orders', 'users', 'items')"
    ).fetchone()
    assert row is not None
    return int(row[0])
