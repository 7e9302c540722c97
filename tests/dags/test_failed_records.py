"""Failed records, looked after by Airflow and from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from airflow_etl_sync.demo.shop import Shop
from tests.dags.conftest import ORDERS, Airflow, as_connection

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SETTINGS = {
    "sync_key": "orders",
    "source_conn_id": "shop_db",
    "destination_conn_id": "warehouse",
    "cursor_field": "updated_at",
    "table": "public.orders",
    "destination_table": "public.copy",
    "max_errors": "3",
}


@pytest.fixture
def failing(airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection) -> Airflow:
    """A copy of the orders that refuses three of them."""
    assert airflow.run("templated_one_task", **SETTINGS | {"where": "id < 0"}).state == "success"
    warehouse.execute("ALTER TABLE public.copy ADD CONSTRAINT known CHECK (id > 3)")
    run = airflow.run("templated_one_task", **SETTINGS | {"full_refresh": True})
    assert run.counts("sync") == {"inserted": ORDERS - 3, "updated": 0, "skipped": 0, "errors": 3}
    return airflow


@pytest.fixture
def etl_sync(airflow_environment: dict[str, str], warehouse_db: str) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", "failed", *arguments, "--conn-id", "warehouse"],
            env=airflow_environment | {"AIRFLOW_CONN_WAREHOUSE": as_connection(warehouse_db)},
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def test_listed_and_replayed_by_a_dag(failing: Airflow, warehouse: psycopg.Connection) -> None:
    listed = failing.run("failed_records", sync_key="orders")
    assert listed.results("failed_records") == [[{"table": "public.copy", "sqlstate": "23514", "records": 3}]]
    again = failing.run("failed_records", sync_key="orders", action="replay")
    assert again.counts("failed_records") == {"inserted": 0, "updated": 0, "skipped": 0, "errors": 3}
    warehouse.execute("ALTER TABLE public.copy DROP CONSTRAINT known")
    replayed = failing.run("failed_records", sync_key="orders", action="replay")
    assert replayed.counts("failed_records") == {"inserted": 3, "updated": 0, "skipped": 0, "errors": 0}
    assert warehouse.execute("SELECT count(*) FROM public.copy").fetchone() == (ORDERS,)


def test_listed_and_replayed_by_the_command(failing: Airflow, etl_sync: Command, warehouse: psycopg.Connection) -> None:
    shown = etl_sync("list")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("23514") == 3
    assert "@" not in shown.stdout
    rows = json.loads(etl_sync("list", "orders", "--values", "--json").stdout)
    assert [row["key"] for row in rows] == [["1"], ["2"], ["3"]]
    assert "known" in rows[0]["error"]
    assert json.loads(etl_sync("list", "nothing", "--json").stdout) == []
    warehouse.execute("ALTER TABLE public.copy DROP CONSTRAINT known")
    assert json.loads(etl_sync("replay", "orders", "--json").stdout)["inserted"] == 3
    assert etl_sync("list", "--json").stdout.strip() == "[]"
