"""A template whose connection leads to a warehouse, run by Airflow, beside an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.bigquery_emulator import PROJECT, new_bigquery
from tests.dags.conftest import ORDERS, Airflow
from tests.snowflake_emulator import new_snowflake

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import Shop


def test_orders_land_in_snowflake(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with new_snowflake() as snowflake:
        snowflake.execute("CREATE SCHEMA SHOP")
        options = dict(snowflake.access.options)
        extra = {name: options[name] for name in ("account", "host", "port", "protocol", "database")}
        airflow.connect("lake", "", conn_type="snowflake", login="fake", password="se-cret", extra=extra)
        first = airflow.run("orders_to_lake")
        assert first.state == "success", first.errors
        assert first.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
        source.execute("UPDATE public.orders SET status = 'refunded' WHERE id <= 5")
        second = airflow.run("orders_to_lake")
        assert second.state == "success", second.errors
        assert second.counts("orders.load")["updated"] == 5
        found = snowflake.execute("SELECT ID, USER_ID, STATUS FROM SHOP.ORDERS ORDER BY ID")
        assert "se-cret" not in first.log + second.log
    assert found == source.execute("SELECT id, user_id, status::text FROM public.orders ORDER BY id").fetchall()
    assert warehouse.execute("SELECT count(*) FROM etl_sync.sync_run").fetchone() == (2,)


def test_orders_land_in_bigquery(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with new_bigquery() as bigquery:
        bigquery.execute("CREATE SCHEMA shop")
        extra = {"is_anonymous": True, "project": PROJECT, "api_endpoint": bigquery.access.endpoint}
        airflow.connect("lake", "", conn_type="google_cloud_platform", extra=extra)
        first = airflow.run("orders_to_lake")
        assert first.state == "success", first.errors
        assert first.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
        source.execute("UPDATE public.orders SET status = 'refunded' WHERE id <= 5")
        second = airflow.run("orders_to_lake")
        assert second.state == "success", second.errors
        assert second.counts("orders.load")["updated"] == 5
        found = bigquery.execute("SELECT id, user_id, status FROM shop.orders ORDER BY id")
        bigquery.execute("DROP SCHEMA shop CASCADE")
    assert found == source.execute("SELECT id, user_id, status::text FROM public.orders ORDER BY id").fetchall()
    assert warehouse.execute("SELECT count(*) FROM etl_sync.sync_run").fetchone() == (2,)
