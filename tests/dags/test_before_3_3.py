"""What only a newer Airflow has is left out on an older one, and the rest of the run is as it is there."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow import sdk

from tests.dags.conftest import ORDERS, Airflow

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop

before_3_2 = pytest.mark.skipif(hasattr(sdk, "DeadlineAlert"), reason="this Airflow has deadlines")
before_3_3 = pytest.mark.skipif(hasattr(sdk, "ExceptionRetryPolicy"), reason="this Airflow has all of it")
TABLES = "SELECT count(*) FROM sqlite_master WHERE name = 'asset_state_store'"


def ask(environment: dict[str, str], query: str, *values: str) -> list[tuple[Any, ...]]:
    """Rows of Airflow's own database."""
    with closing(sqlite3.connect(Path(environment["AIRFLOW_HOME"]) / "airflow.db")) as connection:
        return connection.execute(query, values).fetchall()


@before_3_3
def test_a_load_makes_its_event_where_no_state_is_kept_beside_assets(
    airflow: Airflow, airflow_environment: dict[str, str], shop: Shop, warehouse: psycopg.Connection
) -> None:
    assert ask(airflow_environment, TABLES) == [(0,)]
    run = airflow.run("orders_hourly")
    assert (run.state, run.errors) == ("success", ())
    assert "could not be shown" not in run.log
    query = "SELECT asset_event.extra FROM asset_event WHERE source_run_id = ?"
    [(extra,)] = ask(airflow_environment, query, run.run_id)
    told = json.loads(extra)
    [stored] = warehouse.execute("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = 'orders'")
    assert (told["counts"]["inserted"], told["watermark"]["text"]) == (ORDERS, stored[0])


@before_3_3
def test_months_are_no_partitions_where_there_are_none(
    airflow: Airflow, airflow_environment: dict[str, str], shop: Shop, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("backfill_by_month", first_month="2025-01", last_month="2025-02")
    assert (run.state, run.errors) == ("success", ())
    assert len(run.results("load_month")) == 2
    assert ask(airflow_environment, "SELECT count(*) FROM asset_event WHERE source_run_id = ?", run.run_id) == [(1,)]


@before_3_3
def test_retries_are_those_of_the_error_where_policies_are_unknown(airflow: Airflow, source_db: str) -> None:
    airflow.connect("closed", source_db, host="127.0.0.1", port=1)
    run = airflow.run("own_policy", table="public.orders", source_conn_id="closed")
    assert (run.state, run.tries) == ("failed", 2)


@before_3_2
def test_the_template_with_a_deadline_syncs_without_one(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("users_in_time")
    assert (run.state, run.errors) == ("success", ())
    assert warehouse.execute("SELECT count(*) FROM public.users_in_time").fetchone() == (ORDERS // 5,)


@before_3_2
def test_a_watermark_is_moved_where_airflow_does_not_say_by_whom(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection
) -> None:
    airflow.run("orders_hourly")
    run = airflow.run("watermark_tools", action="reset", sync_key="orders", reason="to load all")
    assert (run.state, run.errors) == ("success", ())
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark_change").fetchone() == (1,)
