"""Every template run by Airflow itself, on real databases: rows, counts and watermark are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.demo.comparison import Comparison, compare
from tests.dags.conftest import ORDERS, TEMPLATES, Airflow, watermarks

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

    from airflow_etl_sync.demo.shop import Shop

USERS = ORDERS // 5
ORDERS_QUERY = (TEMPLATES / "sql" / "orders.sql").read_text()
USERS_QUERY = "SELECT * FROM public.users"


def fact_orders(source_db: str, warehouse_db: str) -> Comparison:
    return compare(
        source_db, warehouse_db, source_query=ORDERS_QUERY, destination_table=("public", "fact_orders"),
        key="order_id", leave_out="synced_at",
    )  # fmt: skip


def changed(counts: dict[str, int]) -> dict[str, int]:
    """Leave out the skipped: rows near the upper bound of a window are read again by the next one."""
    return {name: count for name, count in counts.items() if name != "skipped"}


def synced_at(warehouse: psycopg.Connection) -> dict[int, datetime]:
    return dict(warehouse.execute("SELECT order_id, synced_at FROM public.fact_orders"))


def test_orders_hourly(airflow: Airflow, shop: Shop, source_db: str, warehouse_db: str) -> None:
    first = airflow.run("orders_hourly")
    assert first.state == "success"
    assert changed(first.counts("orders.load")) == {"inserted": ORDERS, "updated": 0, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal

    shop.add_orders(5)
    shop.change_orders(first=10, orders=20)
    shop.change_orders(first=100, orders=7, what="items")
    second = airflow.run("orders_hourly")
    assert changed(second.counts("orders.load")) == {"inserted": 5, "updated": 27, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal


def test_a_new_e_mail_address_is_brought_by_the_nightly_sync(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, source_db: str, warehouse_db: str
) -> None:
    airflow.run("orders_hourly")
    source.execute("UPDATE public.users SET email = 'new@example.org' WHERE id = 3")
    hourly = airflow.run("orders_hourly")
    assert changed(hourly.counts("orders.load")) == {"inserted": 0, "updated": 0, "errors": 0}
    nightly = airflow.run("full_sync_nightly")
    assert changed(nightly.counts("orders.load")) == {"inserted": 0, "updated": 5, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal


def test_synced_at_moves_only_with_its_row(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection) -> None:
    airflow.run("orders_hourly")
    before = synced_at(warehouse)
    shop.change_orders(first=10, orders=2)
    airflow.run("orders_hourly")
    after = synced_at(warehouse)
    assert sum(before[order] != after[order] for order in before) == 2


def test_quiet_table_still_advances(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection) -> None:
    airflow.run("orders_hourly")
    before = watermarks(warehouse)
    second = airflow.run("orders_hourly")
    assert {task["state"] for task in second.tasks} == {"success"}
    assert changed(second.counts("orders.load")) == {"inserted": 0, "updated": 0, "errors": 0}
    assert watermarks(warehouse) != before


def test_staging_is_removed_afterwards(airflow: Airflow, airflow_environment: dict[str, str], shop: Shop) -> None:
    staging = Path(airflow_environment["AIRFLOW_HOME"]) / "etl_sync_staging"
    before = set(staging.glob("*"))  # failed runs of other tests keep their chunks for a retry
    assert airflow.run("orders_hourly").state == "success"
    assert staging.stat().st_mode & 0o777 == 0o700
    assert set(staging.glob("*")) == before


def test_users_every_15_minutes(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, source_db: str, warehouse_db: str
) -> None:
    def users() -> Comparison:
        return compare(
            source_db, warehouse_db, source_query=USERS_QUERY, destination_table=("public", "users"),
            key="id", leave_out="",
        )  # fmt: skip

    first = airflow.run("users_every_15_minutes")
    assert first.state == "success"
    assert changed(first.counts("sync_users")) == {"inserted": USERS, "updated": 0, "errors": 0}
    assert users().is_equal

    source.execute("UPDATE public.users SET name = 'Somebody else' WHERE id <= 4")
    source.execute("INSERT INTO public.users (email, name) VALUES ('a@example.org', 'A')")
    second = airflow.run("users_every_15_minutes")
    assert changed(second.counts("sync_users")) == {"inserted": 1, "updated": 4, "errors": 0}
    assert users().is_equal


def test_full_sync_mends_what_no_cursor_shows(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, source_db: str, warehouse_db: str
) -> None:
    airflow.run("orders_hourly")
    source.execute("ALTER TABLE public.orders DISABLE TRIGGER USER")
    source.execute("UPDATE public.orders SET status = 'lost' WHERE id <= 3")
    airflow.run("orders_hourly")
    assert fact_orders(source_db, warehouse_db).difference_count == 3

    nightly = airflow.run("full_sync_nightly")
    assert nightly.state == "success"
    assert nightly.counts("orders.load") == {"inserted": 0, "updated": 3, "skipped": ORDERS - 3, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal


def test_backfill_restores_a_range_and_leaves_the_watermark(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection,
    source_db: str, warehouse_db: str,
) -> None:  # fmt: skip
    airflow.run("orders_hourly")
    before = watermarks(warehouse)
    start, end, rows = source.execute(
        "SELECT current_date - 40, current_date - 30, count(*) FROM public.orders"
        " WHERE updated_at >= (current_date - 40)::timestamptz AND updated_at < (current_date - 30)::timestamptz"
    ).fetchone() or (None, None, 0)
    assert rows > 0
    warehouse.execute("DELETE FROM public.fact_orders")

    run = airflow.run("backfill", range_start=str(start), range_end=str(end))
    assert run.state == "success"
    assert run.counts("orders.load") == {"inserted": rows, "updated": 0, "skipped": 0, "errors": 0}
    assert watermarks(warehouse) == before
    found = fact_orders(source_db, warehouse_db)
    assert (found.destination_rows, found.difference_count) == (rows, ORDERS - rows)


def test_a_full_refresh_is_a_box_to_tick(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, source_db: str, warehouse_db: str
) -> None:
    airflow.run("orders_hourly")
    source.execute("UPDATE public.users SET email = 'new@example.org' WHERE id = 3")
    airflow.run("orders_hourly")
    assert not fact_orders(source_db, warehouse_db).is_equal
    full = airflow.run("orders_hourly", full_refresh=True)
    assert full.counts("orders.load") == {"inserted": 0, "updated": 5, "skipped": ORDERS - 5, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal


def test_watermark_tools_rewind_so_that_rows_are_read_again(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection,
    source_db: str, warehouse_db: str,
) -> None:  # fmt: skip
    airflow.run("orders_hourly")
    source.execute("UPDATE public.users SET email = 'new@example.org' WHERE id = 3")
    [before] = airflow.run("watermark_tools").results("watermark")
    assert (before["sync_key"], before["cursor_type"], before["changes"]) == ("orders", "timestamptz", [])

    asked = {"action": "rewind", "back": "P500D", "reason": "an address was changed"}
    [rewound] = airflow.run("watermark_tools", **asked).results("watermark")
    assert rewound["old_value"] == before["value"]
    assert warehouse.execute("SELECT cursor_value FROM etl_sync.watermark").fetchall() == [(rewound["new_value"],)]
    recorded = "SELECT action, old_value, changed_by, reason FROM etl_sync.watermark_change"
    # the user of a run that is not triggered in the UI is named so by Airflow's dag.test()
    assert warehouse.execute(recorded).fetchall() == [("rewind", before["value"], "dag_test", asked["reason"])]

    again = airflow.run("orders_hourly")
    assert again.counts("orders.load") == {"inserted": 0, "updated": 5, "skipped": ORDERS - 5, "errors": 0}
    assert fact_orders(source_db, warehouse_db).is_equal


def test_watermark_tools_set_and_reset_and_refuse(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection) -> None:
    def tool(action: str, **asked: Any) -> Any:
        run = airflow.run("watermark_tools", action=action, sync_key="users", **asked)
        return run.results("watermark")[0] if run.state == "success" else run.state

    skipping = {"value": "2001-02-03", "cursor_type": "timestamptz", "allow_skipping": True}
    assert tool("set", **skipping, reason="only what is new")["new_value"] == "2001-02-03 00:00:00+00"
    before = watermarks(warehouse)
    assert tool("set", value="2002-01-01", reason="forward") == "failed"
    assert tool("set", value="2000-01-01") == "failed"
    assert watermarks(warehouse) == before
    assert tool("reset", reason="everything")["new_value"] is None
    assert tool("show")["version"] == 2


def test_reconcile_flags_deleted_orders_and_the_hourly_sync_brings_one_back(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    def deleted() -> list[int]:
        query = "SELECT order_id FROM public.fact_orders WHERE _sync_deleted ORDER BY order_id"
        return [row[0] for row in warehouse.execute(query)]

    airflow.run("orders_hourly")
    before = watermarks(warehouse)
    source.execute("DELETE FROM public.orders WHERE id IN (7, 8)")
    run = airflow.run("reconcile_nightly")
    assert run.state == "success"
    (report,) = run.results("reconcile_orders")
    assert report.pop("seconds") > 0
    assert report == {"compared": ORDERS, "absent": 2, "deleted": 2, "revived": 0}
    assert deleted() == [7, 8]
    assert watermarks(warehouse) == before

    source.execute("INSERT INTO public.orders (id, user_id, status) OVERRIDING SYSTEM VALUE VALUES (7, 1, 'back')")
    assert airflow.run("orders_hourly").counts("orders.load")["updated"] == 1
    assert deleted() == [8]


def test_reconcile_refuses_to_empty_the_warehouse(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    airflow.run("orders_hourly")
    source.execute("TRUNCATE public.orders CASCADE")
    run = airflow.run("reconcile_nightly")
    assert (run.state, run.tries) == ("failed", 1)
    columns = warehouse.execute("SELECT * FROM public.fact_orders LIMIT 0").description or []
    assert "_sync_deleted" not in [column.name for column in columns]


def test_reconcile_takes_its_arguments_as_text(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    airflow.run("users_every_15_minutes")
    source.execute(
        "DELETE FROM public.users WHERE id > 55 AND NOT EXISTS (SELECT FROM public.orders WHERE user_id = users.id)"
    )
    source.execute("INSERT INTO public.users (email, name) VALUES ('a@example.org', 'A')")
    warehouse.execute(
        "INSERT INTO public.users SELECT 900, 'b@example.org', name, created_at, updated_at FROM users LIMIT 1"
    )
    conf = {"where": "id <> 3", "destination_where": "id < 1000", "delete": "hard", "max_delete_percent": "50.5"}
    run = airflow.run("templated_reconcile", table="public.users", destination_table="public.users", **conf)
    assert run.errors == ()
    (report,) = run.results("reconcile")
    assert report["deleted"] == report["absent"] >= 2
    assert warehouse.execute("SELECT count(*) FROM public.users WHERE id IN (3, 900)").fetchone() == (0,)
    wrong = airflow.run("templated_reconcile", table="public.users", destination_table="public.users", delete="softly")
    assert (wrong.state, wrong.tries) == ("failed", 1)
    assert "'softly'" in wrong.errors[0]


def test_first_load_in_ranges(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    first = airflow.run("first_load_in_ranges")
    assert first.state == "success", first.errors
    ranges = [each["counts"] for each in first.results("load_range")]
    (sync,) = first.results("sync")
    assert 6 <= len(ranges) <= 8
    assert sum(each["inserted"] for each in ranges) + sync["counts"]["inserted"] == ORDERS
    shop.add_orders(5)
    second = airflow.run("first_load_in_ranges")
    assert second.state == "success", second.errors
    assert second.results("load_range") == [None]  # skipped
    (sync,) = second.results("sync")
    assert changed(sync["counts"])["inserted"] == 5
    query = "SELECT * FROM public.{} ORDER BY id"
    assert warehouse.execute(query.format("all_orders")).fetchall() == source.execute(query.format("orders")).fetchall()
