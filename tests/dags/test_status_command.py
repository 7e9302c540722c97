"""``etl-sync status``, as a process of its own: what DAGs declare, what their runs came to, what a source keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.demo.postgres import free_port
from airflow_etl_sync.demo.shop import Shop
from tests.dags.conftest import ORDERS, Airflow, as_connection

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SECRET = "secret-of-nobody"


@pytest.fixture
def etl_sync(airflow_environment: dict[str, str], airflow: Airflow) -> Command:
    """Runs ``etl-sync status`` with the connections of the test's Airflow."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", "status", *arguments],
            env=airflow_environment | airflow.connections | changes,
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The syncs by name."""
    answer = json.loads(done.stdout)
    return {sync["sync_key"]: sync for sync in answer["syncs"]}


def test_every_sync_of_a_database_and_what_its_last_run_came_to(
    etl_sync: Command, airflow: Airflow, shop: Shop, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("users_every_15_minutes")
    assert run.state == "success"
    done = etl_sync("--conn-id", "warehouse", "--json")
    assert done.returncode == 0, done.stderr
    users = told(done)["users"]
    stored = warehouse.execute("SELECT cursor_value, cursor_type FROM etl_sync.watermark").fetchone()
    assert stored is not None
    assert users["watermark"] == {"value": stored[0], "cursor_type": stored[1]}
    rows = warehouse.execute("SELECT count(*) FROM public.users").fetchone()
    assert rows is not None
    assert users["last_run"]["counts"] == {
        "processed": rows[0], "inserted": rows[0], "updated": 0, "skipped": 0, "errors": 0,
    }  # fmt: skip
    assert (users["last_run"]["status"], users["last_run"]["run_id"]) == ("done", run.run_id)
    assert users["last_run"]["seconds"] > 0
    assert 0 < users["lag_seconds"] < 600
    assert (users["open_failures"], users["capture"]) == (0, None)

    shown = etl_sync("--conn-id", "warehouse")
    assert shown.returncode == 0, shown.stderr
    [titles, *lines] = shown.stdout.splitlines()
    assert {"state", "watermark", "processed", "duration"} <= set(titles.split())
    [line] = [line for line in lines if " users " in line]
    assert str(stored[0]) in line and str(rows[0]) in line


def test_failed_records_and_captures(
    etl_sync: Command, airflow: Airflow, shop: Shop, source_db: str, warehouse: psycopg.Connection,
    slots: Callable[[str], str],
) -> None:  # fmt: skip
    slot = slots(source_db)
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra={"slot": slot})
    assert airflow.run("shop_items_by_cdc").state == "success"
    assert airflow.run("shop_users").state == "success"
    warehouse.execute("ALTER TABLE public.shop_users ADD CONSTRAINT known CHECK (id > 3) NOT VALID")
    with psycopg.connect(source_db, autocommit=True) as source:
        source.execute("UPDATE public.users SET name = 'x' WHERE id < 3")
    assert airflow.run("shop_users").state == "success"

    syncs = told(etl_sync("--conn-id", "warehouse", "--json"))
    assert syncs["shop_users"]["open_failures"] == 2
    assert syncs["shop_users"]["last_run"]["counts"]["errors"] == 2
    captured = syncs["shop_items_by_cdc"]["capture"]
    position = warehouse.execute("SELECT applied_lsn::text FROM etl_sync.cdc_pipeline").fetchone()
    assert (captured["slot"], (captured["position"],)) == (slot, position)
    assert captured["retained_bytes"] >= 0 and captured["wal_status"] == "reserved"
    [one] = told(etl_sync("shop_users", "--json")).values()
    assert one["sync_key"] == "shop_users"


def test_databases_that_dags_name_are_found_and_one_that_is_silent_is_told(
    etl_sync: Command, airflow: Airflow, shop: Shop
) -> None:
    assert airflow.run("orders_hourly").state == "success"
    silent = f"host=127.0.0.1 port={free_port()} user=nobody password={SECRET} dbname=nowhere"
    airflow.connect("silent", silent)
    done = etl_sync("--json", AIRFLOW__ETL_SYNC__STATE_CONN_IDS="silent")
    assert done.returncode == 1
    assert told(done)["orders"]["last_run"]["counts"]["inserted"] == ORDERS
    unread = [place["conn_id"] for place in json.loads(done.stdout)["unread"]]  # others of wrong DAGs among them
    assert unread.count("silent") == 1
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == unread
    assert SECRET not in done.stdout + done.stderr


def test_a_refusal_is_one_sentence(etl_sync: Command, airflow_environment: dict[str, str]) -> None:
    for done, said in (
        (etl_sync("nobody", "--conn-id", "warehouse"), "No sync 'nobody' is known here"),
        (etl_sync("--conn-id", "nowhere"), "The connection 'nowhere' does not exist"),
        (
            etl_sync("--conn-id", "warehouse", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:////nowhere/airflow.db"),
            "Airflow's own database",
        ),
    ):
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_database_without_syncs_has_none(etl_sync: Command, warehouse: psycopg.Connection) -> None:
    done = etl_sync("--conn-id", "warehouse", "--json")
    assert json.loads(done.stdout)["unread"] == []
    assert warehouse.execute("SELECT to_regnamespace('etl_sync')").fetchone() == (None,)


def test_of_a_destination_that_keeps_no_state_it_is_told_what_to_set(
    etl_sync: Command, airflow: Airflow, warehouse_db: str
) -> None:
    airflow.connections["AIRFLOW_CONN_OTHER"] = as_connection(warehouse_db, conn_type="mysql")
    done = etl_sync("--conn-id", "other")
    assert done.returncode == 1
    assert "of type 'mysql'" in done.stderr and "name a connection of type 'postgres' in state_conn_id" in done.stderr
