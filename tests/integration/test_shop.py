"""The demonstration's shop behaves as the story needs it to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from airflow_etl_sync.demo.shop import Shop
from airflow_etl_sync.demo.stage import CAPTURED

if TYPE_CHECKING:
    from datetime import datetime

ORDERS = 200


@pytest.fixture
def shop(source_db: str) -> Shop:
    shop = Shop(source_db)
    shop.create(ORDERS)
    return shop


def changed_since(source: psycopg.Connection, moment: datetime) -> set[int]:
    return {row[0] for row in source.execute("SELECT id FROM orders WHERE updated_at >= %s", (moment,))}


def clock(source: psycopg.Connection) -> datetime:
    row = source.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def test_is_filled_with_the_past(shop: Shop, source: psycopg.Connection) -> None:
    counts = source.execute("""
        SELECT
            (SELECT count(*) FROM users),
            (SELECT count(*) FROM orders),
            (SELECT count(*) FROM items),
            (SELECT count(*) FROM orders WHERE updated_at > now() - interval '1 hour' OR updated_at < created_at),
            (SELECT max(items) FROM (SELECT count(*) AS items FROM items GROUP BY order_id) AS per_order)
    """).fetchone()
    assert counts is not None
    users, orders, items, recent, most_items = counts
    assert (users, orders, recent, most_items) == (ORDERS // 5, ORDERS, 0, 3)
    assert ORDERS <= items <= 3 * ORDERS


def test_tells_exactly_which_orders_it_changed(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    changes = shop.add_orders(7)
    changes += shop.change_orders(first=10, orders=5)
    changes += shop.change_orders(first=20, orders=5, what="items")
    assert changed_since(source, start) == changes.inserted | changes.updated
    assert (len(changes.inserted), len(changes.updated)) == (7, 10)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO items (order_id, sku, quantity, unit_price) VALUES (5, 'x', 1, 1)",
        "UPDATE items SET quantity = quantity + 1 WHERE order_id = 5",
        "DELETE FROM items WHERE order_id = 5",
        "UPDATE orders SET status = 'lost', updated_at = '2000-01-01' WHERE id = 5",
    ],
)
def test_every_change_of_an_order_moves_its_time(shop: Shop, source: psycopg.Connection, statement: str) -> None:
    start = clock(source)
    source.execute(statement)
    assert changed_since(source, start) == {5}


def test_an_item_that_moves_touches_both_orders(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    source.execute("UPDATE items SET order_id = 6 WHERE order_id = 5")
    assert changed_since(source, start) == {5, 6}


def test_a_new_address_moves_the_user_alone(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    source.execute("UPDATE users SET email = 'new@example.org' WHERE id = 5")
    assert source.execute("SELECT id FROM users WHERE updated_at >= %s", (start,)).fetchall() == [(5,)]
    assert changed_since(source, start) == set()


def test_a_late_commit_is_older_than_what_was_seen_before_it(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    with shop.late_transaction(first=0, orders=3) as late:
        early = shop.change_orders(first=3, orders=2)
        assert changed_since(source, start) == early.updated
        seen = source.execute("SELECT max(updated_at) FROM orders").fetchone()
        assert seen is not None
        changes = late.commit()
        assert changed_since(source, start) == early.updated | changes.inserted | changes.updated
        assert changed_since(source, seen[0]) == early.updated


def test_a_late_transaction_without_a_commit_leaves_no_trace(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    with shop.late_transaction(first=0, orders=3):
        pass
    assert changed_since(source, start) == set()


def rows(source: psycopg.Connection, table: str) -> dict[int, str]:
    query = sql.SQL("SELECT id, whole::text FROM {} AS whole").format(sql.Identifier(table))
    return dict(source.execute(query).fetchall())


@pytest.mark.parametrize("orders", [1, 200, 3_000])
def test_a_trading_day_tells_exactly_what_it_did(orders: int, source_db: str, source: psycopg.Connection) -> None:
    shop = Shop(source_db)
    shop.create(orders)
    before = {table: rows(source, table) for table in CAPTURED}
    day = shop.trade()
    for table in CAPTURED:
        old, new = before[table], rows(source, table)
        told = day.tables[table]
        assert told.inserted == new.keys() - old.keys()
        assert told.deleted | told.emptied == old.keys() - new.keys()
        assert told.updated == {key for key in old.keys() & new.keys() if old[key] != new[key]}
    assert day.truncated == 1 and day.tables["carts"].emptied == before["carts"].keys()


def test_a_trading_day_has_something_of_everything(source_db: str, source: psycopg.Connection) -> None:
    shop = Shop(source_db)
    shop.create(3_000)
    day = shop.trade()
    for table in ("users", "orders", "products"):
        changes = day.tables[table]
        assert changes.inserted and changes.updated and changes.deleted
    assert day.renumbered > 1
    assert source.execute(
        "SELECT count(*) FROM items LEFT JOIN orders ON orders.id = order_id WHERE orders.id IS NULL"
    ).fetchone() == (0,)
    assert day.lean == 100 and stored_apart(source)


def stored_apart(source: psycopg.Connection) -> bool:
    """Whether the descriptions of products lie beside their table, so that updates leave them out of the log."""
    row = source.execute(
        "SELECT pg_relation_size(reltoastrelid) > (SELECT sum(length(description)) FROM products)"
        " FROM pg_class WHERE oid = 'products'::regclass"
    ).fetchone()
    return row == (True,)


def test_steady_changes_also_remove_and_renumber_orders(shop: Shop, source: psycopg.Connection) -> None:
    before = rows(source, "orders").keys()
    with shop.steady_changes(interval_seconds=0.001):
        deadline = time.monotonic() + 10
        while len(before - rows(source, "orders").keys()) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    after = rows(source, "orders").keys()
    assert len(before - after) >= 4 and len(after) >= ORDERS


def test_steady_changes_end_with_the_block(shop: Shop, source: psycopg.Connection) -> None:
    start = clock(source)
    with shop.steady_changes(interval_seconds=0.01):
        deadline = time.monotonic() + 10
        while len(changed_since(source, start)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    end = clock(source)
    time.sleep(0.05)
    assert len(changed_since(source, start)) >= 3
    assert changed_since(source, end) == set()


def test_a_shop_of_one_order_can_be_changed_too(source_db: str) -> None:
    shop = Shop(source_db)
    shop.create(1)
    with shop.late_transaction(first=0, orders=20) as late:
        changes = shop.change_orders(first=20, orders=10) + shop.add_orders(5) + late.commit()
    assert (len(changes.inserted), len(changes.updated)) == (2, 1)
