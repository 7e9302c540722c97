"""A backfill in months, each a task of its own; on Airflow 3.3 each a partition of the table's asset."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from airflow import sdk

from dags.backfill_by_month import months
from tests.dags.conftest import Airflow, watermarks

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop

PER_MONTH = """
SELECT to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM'), count(*) FROM public.orders GROUP BY 1 ORDER BY 1
"""


def partitions(environment: dict[str, str], run_id: str) -> list[str]:
    query = "SELECT partition_key FROM asset_event WHERE source_run_id = ? ORDER BY 1"
    with closing(sqlite3.connect(Path(environment["AIRFLOW_HOME"]) / "airflow.db")) as connection:
        return [key for (key,) in connection.execute(query, [run_id])]


def test_each_month_is_loaded_by_a_task_of_its_own(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection,
    airflow_environment: dict[str, str],
) -> None:  # fmt: skip
    airflow.run("orders_hourly")
    before = watermarks(warehouse)
    warehouse.execute("DELETE FROM public.fact_orders")
    orders: dict[str, int] = dict(source.execute(PER_MONTH).fetchall())
    first, last = sorted(orders)[-3], max(orders)

    run = airflow.run("backfill_by_month", first_month=first, last_month=last)
    assert run.state == "success", run.errors
    loaded = [result["counts"]["inserted"] for result in run.results("load_month")]
    assert loaded == [orders.get(each["range_start"][:7], 0) for each in run.results("months")[0]]
    assert len(loaded) == 3
    assert warehouse.execute("SELECT count(*) FROM public.fact_orders").fetchone() == (sum(loaded),)
    assert watermarks(warehouse) == before
    if hasattr(sdk, "PartitionedAtRuntime"):
        months = [each["range_start"][:7] for each in run.results("months")[0]]
        assert partitions(airflow_environment, run.run_id) == months


def test_a_partition_key_is_one_month() -> None:
    assert months.function(partition_key="2026-12") == [{"range_start": "2026-12-01", "range_end": "2027-01-01"}]


def test_a_run_that_names_no_month_says_so(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection) -> None:
    run = airflow.run("backfill_by_month", first_month="2026-01")
    assert run.state == "failed"
    assert "Say which months" in run.log
    assert watermarks(warehouse) == []
