"""What OpenLineage is told of runs: Airflow runs the DAGs, the provider's file transport writes the events down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.dags.conftest import ORDERS, Airflow
from tests.dags.telling import events_of, name_of, names

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_etl_sync.demo.shop import Shop

    Told = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def airflow(told_process: Airflow, notes: Path, source_db: str, warehouse_db: str) -> Airflow:
    told_process.connections.clear()
    told_process.connect("shop_db", source_db)
    told_process.connect("warehouse", warehouse_db)
    notes.write_text("")
    return told_process


@pytest.fixture
def told(notes: Path) -> Told:
    """The events of tasks that are complete, by the job's name."""

    return lambda job: events_of(notes, job)


def test_one_task_tells_tables_columns_and_rows(
    airflow: Airflow, shop: Shop, told: Told, notes: Path, source_db: str, warehouse_db: str
) -> None:
    assert airflow.run("users_every_15_minutes").state == "success"
    [event] = told("users_every_15_minutes.sync_users")
    [read], [written] = event["inputs"], event["outputs"]
    assert names([read]) == [name_of(source_db, "users")]
    assert names([written]) == [name_of(warehouse_db, "users")]
    columns = {"id", "email", "name", "created_at", "updated_at"}
    for dataset in (read, written):
        assert {field["name"] for field in dataset["facets"]["schema"]["fields"]} == columns
        assert "timestamp with time zone" in {field["type"] for field in dataset["facets"]["schema"]["fields"]}
    lineage = written["facets"]["columnLineage"]["fields"]
    assert set(lineage) == columns
    [email] = lineage["email"]["inputFields"]
    assert (email["namespace"], email["name"], email["field"]) == (*name_of(source_db, "users"), "email")
    assert lineage["email"]["transformationType"] == "IDENTITY"
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == ORDERS // 5


def test_no_event_holds_a_value_or_a_password(
    airflow: Airflow, shop: Shop, told: Told, notes: Path, source: psycopg.Connection, source_db: str
) -> None:
    source.execute("UPDATE public.users SET email = 'kept-private@example.org' WHERE id = 1")
    assert airflow.run("users_every_15_minutes").state == "success"
    assert told("users_every_15_minutes.sync_users")
    text = notes.read_text()
    assert "kept-private" not in text
    password = conninfo_to_dict(source_db)["password"]
    assert password and str(password) not in text


def test_a_chain_over_a_query_names_its_tables(
    airflow: Airflow, shop: Shop, told: Told, source_db: str, warehouse_db: str
) -> None:
    assert airflow.run("orders_hourly").state == "success"
    tables = [name_of(source_db, table) for table in ("items", "orders", "users")]
    [extracted] = told("orders_hourly.orders.extract")
    assert (names(extracted["inputs"]), extracted["outputs"]) == (tables, [])
    assert [read["facets"] for read in extracted["inputs"]] == [{}] * 3, "the query's columns are none of its tables'"
    loads = told("orders_hourly.orders.load")
    for load in loads:
        [written] = load["outputs"]
        assert (names(load["inputs"]), names([written])) == (tables, [name_of(warehouse_db, "fact_orders")])
        assert "synced_at" in {field["name"] for field in written["facets"]["schema"]["fields"]}
        assert "columnLineage" not in written["facets"]
    assert sum(load["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] for load in loads) == ORDERS


def test_a_capture_and_a_reconcile_name_their_tables(
    airflow: Airflow, shop: Shop, told: Told, source_db: str, warehouse_db: str, slots: Callable[[str], str]
) -> None:
    extra = {"slot": slots(source_db), "tables": "public.users, public.orders"}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)
    assert airflow.run("orders_by_cdc").state == "success"
    [event] = told("orders_by_cdc.capture")
    assert names(event["inputs"]) == [name_of(source_db, table) for table in ("orders", "users")]
    assert names(event["outputs"]) == [name_of(warehouse_db, table) for table in ("orders_live", "users_live")]
    airflow.run("orders_hourly")
    airflow.run("reconcile_nightly")
    [event] = told("reconcile_nightly.reconcile_orders")
    assert names(event["outputs"]) == [name_of(warehouse_db, "fact_orders")]
    assert event["inputs"]
