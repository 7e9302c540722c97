"""What a task's own page in Airflow tells and leads to, after Airflow has run it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dags.conftest import ORDERS, Airflow

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import Shop

LINKS = "SELECT task_id, value FROM xcom WHERE key = '_link_SyncLink' AND run_id = ? AND map_index < 1"
NAMES = "SELECT rendered_map_index FROM task_instance WHERE task_id = 'orders.load' AND run_id = ? AND map_index >= 0"


@pytest.fixture
def metadata(airflow_environment: dict[str, str]) -> Path:
    return Path(airflow_environment["AIRFLOW_HOME"]) / "airflow.db"


def links(metadata: Path, run_id: str) -> dict[str, str]:
    """The address of each task's button, without Airflow's own address before it."""
    with closing(sqlite3.connect(metadata)) as connection:
        return {
            task: json.loads(value).partition("/etl_sync/")[2] for task, value in connection.execute(LINKS, [run_id])
        }


def test_every_task_of_a_chain_leads_to_its_sync(airflow: Airflow, shop: Shop, metadata: Path) -> None:
    run = airflow.run("orders_hourly")
    page = "sync?conn_id=warehouse&sync_key=orders"
    assert links(metadata, run.run_id) == {f"orders.{step}": page for step in ("extract", "load", "advance")}


def test_mapped_loads_are_called_by_what_they_load(airflow: Airflow, shop: Shop, metadata: Path) -> None:
    run = airflow.run("orders_hourly")
    with closing(sqlite3.connect(metadata)) as connection:
        assert connection.execute(NAMES, [run.run_id]).fetchall() == [(f"part 1: {ORDERS} rows",)]


def test_other_tasks_lead_to_theirs_also_where_they_fail(airflow: Airflow, shop: Shop, metadata: Path) -> None:
    users = airflow.run("users_every_15_minutes")
    assert links(metadata, users.run_id) == {"sync_users": "sync?conn_id=warehouse&sync_key=users"}
    failed = airflow.run("templated_one_task", table="public.absent", sync_key="a & b")
    assert failed.state == "failed"
    assert links(metadata, failed.run_id) == {"sync": "sync?conn_id=warehouse&sync_key=a+%26+b"}
