"""Changes captured by Airflow itself: inserts, updates, deletes and changed keys, on real databases."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from airflow_etl_sync.demo.comparison import Comparison, compare
from tests.conftest import drop_slot
from tests.dags.conftest import ORDERS, ROOT, Airflow

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from airflow_etl_sync.demo.shop import Shop

TABLES = {"users": "users_live", "orders": "orders_live"}


def test_orders_by_cdc(
    airflow: Airflow,
    shop: Shop,
    source: psycopg.Connection,
    source_db: str,
    warehouse_db: str,
    slots: Callable[[str], str],
) -> None:
    def copies() -> list[Comparison]:
        return [
            compare(
                source_db, warehouse_db, source_query=f"SELECT * FROM public.{table}",
                destination_table=("public", copy), key="id", leave_out="synced_at",
            )
            for table, copy in TABLES.items()
        ]  # fmt: skip

    extra = {"slot": slots(source_db), "tables": "public.users, public.orders"}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)
    first = airflow.run("orders_by_cdc")
    assert first.state == "success", first.errors
    assert all(copy.is_equal for copy in copies())

    shop.add_orders(5)
    shop.change_orders(first=10, orders=20)
    source.execute("DELETE FROM public.orders WHERE id <= 4")
    source.execute("DELETE FROM public.items WHERE order_id = 5")
    source.execute("UPDATE public.orders SET id = DEFAULT WHERE id = 5")
    source.execute("INSERT INTO public.users (email, name) VALUES ('a@example.org', 'A')")
    second = airflow.run("orders_by_cdc")
    (report,) = second.results("capture")
    assert second.state == "success", second.errors
    assert all(copy.is_equal for copy in copies())
    assert (report["inserted"], report["updated"], report["deleted"], report["errors"]) == (5 + 1 + 1, 20, 5, 0)
    assert report["wal_status"] == "reserved" and report["warnings"] == []

    third = airflow.run("orders_by_cdc")
    (report,) = third.results("capture")
    assert (report["changes"], ORDERS) == (0, 300)


def test_the_connection_of_docker_compose_is_all_that_the_template_needs(
    airflow: Airflow, shop: Shop, source_db: str, warehouse: psycopg.Connection
) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    ours = services["airflow-scheduler"]["environment"]["AIRFLOW_CONN_SHOP_CDC"]
    here = urlsplit(source_db)
    asks_for = ours.partition("?")[2].partition("?")[2]  # the first one is that of the password's variable
    airflow.connections["AIRFLOW_CONN_SHOP_CDC"] = f"postgres-cdc://{here.netloc}{here.path}?{asks_for}"
    try:
        run = airflow.run("orders_by_cdc")
        assert run.state == "success", run.errors
    finally:
        drop_slot(source_db, "orders_by_cdc")
    assert warehouse.execute("SELECT count(*) FROM orders_live").fetchone() == (ORDERS,)


def test_a_history_of_orders(
    airflow: Airflow,
    shop: Shop,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    source_db: str,
    slots: Callable[[str], str],
) -> None:
    extra = {"slot": slots(source_db), "tables": "public.orders"}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)
    first = airflow.run("history_by_cdc")
    assert first.state == "success", first.errors

    shop.add_orders(2)
    shop.change_orders(first=10, orders=5)
    source.execute("DELETE FROM public.items WHERE order_id IN (4, 5)")
    source.execute("DELETE FROM public.orders WHERE id = 4")
    source.execute("UPDATE public.orders SET id = DEFAULT WHERE id = 5")
    second = airflow.run("history_by_cdc")
    assert second.state == "success", second.errors
    (report,) = second.results("capture")
    assert (report["inserted"], report["errors"]) == (report["changes"] + 1, 0), "a changed key makes two rows"

    third = airflow.run("history_by_cdc")
    (report,) = third.results("capture")
    assert report["changes"] == 0
    kinds: dict[str, int] = dict(
        warehouse.execute("SELECT _sync_op, count(*) FROM public.orders_history GROUP BY 1").fetchall()
    )
    assert (kinds["snapshot"], kinds["insert"], kinds["delete"]) == (ORDERS, 2 + 1, 1 + 1)
    live = """
        SELECT {columns} FROM (
            SELECT DISTINCT ON (id) * FROM public.orders_history ORDER BY id, _sync_lsn DESC, _sync_sequence DESC
        ) AS last WHERE _sync_op <> 'delete' ORDER BY id
    """
    names = [row.name for row in source.execute("SELECT * FROM public.orders LIMIT 0").description or ()]
    columns = ", ".join(f"{name}::text" for name in names)
    made_again = warehouse.execute(live.format(columns=columns)).fetchall()
    assert made_again == source.execute(f"SELECT {columns} FROM public.orders ORDER BY id").fetchall()


def test_a_history_has_no_use_for_what_overwrites(
    airflow: Airflow, shop: Shop, source_db: str, slots: Callable[[str], str]
) -> None:
    extra = {"slot": slots(source_db), "tables": "public.orders"}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)
    for wrong in ({"delete": "hard"}, {"conflict": "latest_wins"}, {"apply": "append"}):
        run = airflow.run("history_by_cdc", **wrong)
        assert run.state == "failed"
        assert len(run.errors) == 1 and next(iter(wrong)) in run.errors[0]
