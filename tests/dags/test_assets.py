"""Loaded tables as assets: Airflow runs the DAGs, its own database is asked for events and state."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import drop_slot
from tests.dags.conftest import ORDERS, Airflow

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from airflow_etl_sync.demo.shop import Shop

    Metadata = Callable[..., list[tuple[Any, ...]]]

FACT_ORDERS = "etl-sync://warehouse/public/fact_orders"
EVENTS = (
    "SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id WHERE uri = ? AND source_run_id = ?"
)
STATES = "SELECT key, value FROM asset_state_store AS state JOIN asset ON asset.id = asset_id WHERE uri = ?"


@pytest.fixture
def metadata(airflow_environment: dict[str, str]) -> Metadata:
    """A way to ask Airflow's own database."""

    def ask(query: str, *values: str) -> list[tuple[Any, ...]]:
        path = Path(airflow_environment["AIRFLOW_HOME"]) / "airflow.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            return connection.execute(query, values).fetchall()

    return ask


def test_a_chain_makes_one_event_of_its_table_with_counts_and_window(
    airflow: Airflow, shop: Shop, metadata: Metadata, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("orders_hourly")
    [(text,)] = metadata(EVENTS, FACT_ORDERS, run.run_id)
    extra = json.loads(text)
    assert extra["sync_key"] == "orders"
    assert (extra["counts"]["processed"], extra["counts"]["inserted"]) == (ORDERS, ORDERS)
    assert extra["window"]["low"] is None
    assert extra["window"]["high"] == extra["watermark"]
    [stored] = warehouse.execute("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = 'orders'")
    assert extra["watermark"]["text"] == stored[0]


def test_the_watermark_can_be_seen_beside_the_asset(
    airflow: Airflow, shop: Shop, metadata: Metadata, warehouse: psycopg.Connection
) -> None:
    airflow.run("orders_hourly")
    [state] = [json.loads(value) for key, value in metadata(STATES, FACT_ORDERS) if key == "orders.watermark"]
    [stored] = warehouse.execute("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = 'orders'")
    assert (state["text"], state["type"]) == (stored[0], "timestamptz")


def test_one_task_and_records_of_a_function_make_events(airflow: Airflow, shop: Shop, metadata: Metadata) -> None:
    users = airflow.run("users_every_15_minutes")
    [(text,)] = metadata(EVENTS, "etl-sync://warehouse/public/users", users.run_id)
    assert json.loads(text)["counts"]["inserted"] == ORDERS // 5
    airflow.run("orders_hourly")
    scores = airflow.run("order_scores")
    made = metadata(
        "SELECT uri FROM asset_event JOIN asset ON asset.id = asset_id WHERE source_run_id = ?", scores.run_id
    )
    assert made == [("etl-sync://warehouse/public/order_scores",)]


def test_a_capture_makes_an_event_of_each_table_that_its_dag_names(
    airflow: Airflow, shop: Shop, metadata: Metadata, source_db: str
) -> None:
    try:
        run = airflow.run("orders_by_cdc_on_change")
    finally:
        drop_slot(source_db, "orders_on_change")
    assert run.state == "success", run.errors
    made = metadata(
        "SELECT uri FROM asset_event JOIN asset ON asset.id = asset_id WHERE source_run_id = ? ORDER BY uri", run.run_id
    )
    assert made == [("etl-sync://warehouse/public/orders_now",), ("etl-sync://warehouse/public/users_now",)]


def test_names_that_only_a_run_knows_make_no_event(airflow: Airflow, shop: Shop, metadata: Metadata) -> None:
    run = airflow.run("templated_one_task", table="public.users")
    assert run.state == "success"
    assert metadata("SELECT count(*) FROM asset_event WHERE source_run_id = ?", run.run_id) == [(0,)]


def test_a_dry_run_makes_no_event(airflow: Airflow, shop: Shop, metadata: Metadata) -> None:
    run = airflow.run("dry_users", dry_run=True)
    assert run.state == "success", run.errors
    assert metadata("SELECT count(*) FROM asset_event WHERE source_run_id = ?", run.run_id) == [(0,)]
    wet = airflow.run("dry_users", dry_run=False)
    assert metadata("SELECT count(*) FROM asset_event WHERE source_run_id = ?", wet.run_id) == [(1,)]


def test_a_dag_that_is_scheduled_on_the_table_is_due_after_a_sync(
    airflow: Airflow, shop: Shop, metadata: Metadata, warehouse: psycopg.Connection
) -> None:
    first = airflow.run("orders_hourly")
    counts = airflow.run("revenue_when_orders_change").results("add_up_revenue")[0]
    assert counts["inserted"] == first.counts("orders.load")["inserted"] == ORDERS
    query = "SELECT sum(orders), sum(revenue) = (SELECT sum(total_amount) FROM public.fact_orders) FROM public.revenue"
    assert warehouse.execute(query).fetchone() == (ORDERS, True)

    metadata("UPDATE dag SET is_paused = 0 WHERE dag_id = 'revenue_when_orders_change'")
    metadata("DELETE FROM asset_dag_run_queue")
    airflow.run("orders_hourly")
    assert metadata("SELECT target_dag_id FROM asset_dag_run_queue") == [("revenue_when_orders_change",)]
