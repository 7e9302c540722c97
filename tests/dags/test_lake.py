"""The template that loads a lake, run by Airflow: its connection says where tables lie, another keeps the state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest
from deltalake import DeltaTable

from tests.dags.conftest import ORDERS, Airflow
from tests.object_storage import REGION, Bucket

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import Shop


def rows_of(table: DeltaTable) -> list[tuple[Any, ...]]:
    rows = table.to_pyarrow_table(columns=["id", "user_id", "status", "created_at", "updated_at"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def orders(source: psycopg.Connection) -> list[tuple[Any, ...]]:
    return source.execute(
        "SELECT id, user_id, status::text, created_at, updated_at FROM public.orders ORDER BY id"
    ).fetchall()


def test_orders_land_in_a_directory(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    partitions = {"partition_by": {"shop.orders": ["day"]}}
    airflow.connect("lake", "", conn_type="delta_lake", host=str(tmp_path), extra=partitions)
    first = airflow.run("orders_to_lake")
    assert first.state == "success", first.errors
    assert first.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    table = DeltaTable(tmp_path / "shop" / "orders")
    assert rows_of(table) == orders(source)
    assert table.metadata().partition_columns == ["day"]
    source.execute("UPDATE public.orders SET status = 'refunded' WHERE id <= 5")
    second = airflow.run("orders_to_lake")
    assert second.state == "success", second.errors
    assert second.counts("orders.load")["updated"] == 5
    assert rows_of(DeltaTable(tmp_path / "shop" / "orders")) == orders(source)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.sync_run").fetchone() == (2,)


def test_orders_land_in_the_bucket_of_a_connection(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, bucket: Bucket
) -> None:
    airflow.connect(
        "lake_keys", "", **bucket.connection(extra={"endpoint_url": bucket.endpoint, "region_name": REGION})
    )
    airflow.connect("lake", "", conn_type="delta_lake", host=f"s3://lake_keys@{bucket.name}/tables")
    run = airflow.run("orders_to_lake")
    assert run.state == "success", run.errors
    assert run.counts("orders.load")["inserted"] == ORDERS
    assert any(key.startswith("tables/shop/orders/_delta_log/") for key in bucket.keys)
    assert bucket.secret not in run.log + str(run.errors) + str(run.tasks)


@pytest.mark.parametrize("conn_type", ["duckdb", "parquet_lake"])
def test_the_type_of_the_connection_decides_what_is_loaded(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, tmp_path: Path, conn_type: str
) -> None:
    host = tmp_path / "warehouse.duckdb" if conn_type == "duckdb" else tmp_path
    airflow.connect("lake", "", conn_type=conn_type, host=str(host))
    run = airflow.run("orders_to_lake")
    assert run.state == "success", run.errors
    assert run.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    table = "shop.orders" if conn_type == "duckdb" else f"read_parquet('{tmp_path}/shop/orders/*.parquet')"
    with duckdb.connect(str(host) if conn_type == "duckdb" else ":memory:") as file:
        found = file.execute(f"SELECT id, user_id, status FROM {table} ORDER BY id").fetchall()
    assert found == [row[:3] for row in orders(source)]


def test_a_place_that_cannot_be_used_is_told_at_once(airflow: Airflow, shop: Shop) -> None:
    airflow.connect("lake", "", conn_type="delta_lake", host="s3://key:se-cret@bucket/x")
    run = airflow.run("orders_to_lake")
    assert (run.state, run.tries) == ("failed", 1)
    assert "names no place for tables" in str(run.errors) and "se-cret" not in run.log + str(run.errors)
