"""Syncs from PostgreSQL into MariaDB and SQLite, run by Airflow: the destination is found by the connection's type."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.demo.shop import Shop
from tests.dags.conftest import ORDERS, Airflow
from tests.mariadb import MariaDb, new_mariadb

Read = Callable[[str], list[tuple[Any, ...]]]
ALL = "SELECT id, user_id, status, updated_at FROM {} ORDER BY id"


@pytest.fixture
def lake_mysql(airflow: Airflow, shop: Shop) -> Iterator[MariaDb]:
    with new_mariadb() as database:
        airflow.connect(
            "lake_mysql", "", conn_type="mysql", host=database.host, port=database.port, login=database.login,
            password=database.password, schema=database.database,
        )  # fmt: skip
        yield database


def at_source(source: psycopg.Connection) -> list[tuple[Any, ...]]:
    return source.execute(
        "SELECT id, user_id, status, updated_at AT TIME ZONE 'UTC' FROM public.orders ORDER BY id"
    ).fetchall()


@pytest.mark.parametrize(
    ("dag_id", "task", "table"),
    [("into_mysql", "orders.load", "orders_copy"), ("one_task_into_mysql", "sync", "orders_once")],
)
def test_orders_into_mysql(
    airflow: Airflow, shop: Shop, lake_mysql: MariaDb, source: psycopg.Connection, warehouse: psycopg.Connection,
    dag_id: str, task: str, table: str,
) -> None:  # fmt: skip
    first = airflow.run(dag_id)
    assert first.state == "success", first.errors
    assert first.counts(task) == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    assert lake_mysql.execute(ALL.format(table)) == at_source(source)
    shop.add_orders(5)
    shop.change_orders(first=10, orders=20)
    counts = airflow.run(dag_id).counts(task)
    assert (counts["inserted"], counts["updated"], counts["errors"]) == (5, 20, 0)
    assert lake_mysql.execute(ALL.format(table)) == at_source(source)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (1,)
    assert warehouse.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,)


def test_orders_into_a_file_of_sqlite(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, tmp_path: Path
) -> None:  # fmt: skip
    path = tmp_path / "lake.db"
    airflow.connect("lake_sqlite", "", conn_type="sqlite", host=str(path))
    run = airflow.run("into_sqlite")
    assert run.state == "success", run.errors
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(ALL.format("orders_copy")).fetchall()
    assert [row[:3] for row in found] == [row[:3] for row in at_source(source)]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("", "state is kept in PostgreSQL only: name a connection of type 'postgres' in state_conn_id."),
        ("lake_mysql", "The connection 'lake_mysql' is of type 'mysql', and the state is kept in PostgreSQL only"),
    ],
)
def test_a_destination_elsewhere_needs_a_place_for_the_state(
    airflow: Airflow, lake_mysql: MariaDb, state: str, said: str
) -> None:
    run = airflow.run("one_task_into_mysql", state=state)
    assert run.state == "failed" and run.tries == 1
    assert said in run.log
    assert lake_mysql.execute("SHOW TABLES") == []


def test_a_connection_that_is_no_database_is_refused(airflow: Airflow, shop: Shop) -> None:
    airflow.connect("lake_hook", "", conn_type="http", host="127.0.0.1", password="se cret")
    run = airflow.run("one_task_into_hook")
    assert run.state == "failed" and run.tries == 1
    assert "The connection 'lake_hook' is of type 'http', which cannot be a destination" in run.log
    assert "se cret" not in run.log


def test_postgresql_keeps_the_state_beside_its_rows(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("state_apart")
    assert run.state == "failed" and run.tries == 1
    assert "The destination 'warehouse' is PostgreSQL and keeps the state beside the rows" in run.log
    assert warehouse.execute("SELECT to_regnamespace('etl_sync')").fetchone() == (None,)


def test_records_of_a_function_into_mysql(
    airflow: Airflow, lake_mysql: MariaDb, warehouse: psycopg.Connection
) -> None:  # fmt: skip
    place = {"destination_conn_id": "lake_mysql", "destination_table": "records", "cursor_field": "at"}
    refused = airflow.run("templated_records", **place)
    assert refused.state == "failed" and "name a connection of type 'postgres' in state_conn_id" in refused.errors[0]
    first = airflow.run("templated_records", **place, state_conn_id="warehouse", first=4)
    assert first.state == "success", first.errors
    assert first.counts("give") == {"inserted": 6, "updated": 0, "skipped": 0, "errors": 0}
    second = airflow.run("templated_records", **place, state_conn_id="warehouse")
    assert second.counts("give") == {"inserted": 0, "updated": 1, "skipped": 0, "errors": 0}
    found = lake_mysql.execute("SELECT id, at, told FROM records ORDER BY id")
    assert found[0] == (4, 4, '["None", true]') and found[-1] == (9, 9, '["9", true]') and len(found) == 6
    assert warehouse.execute("SELECT sync_key, cursor_value FROM etl_sync.watermark").fetchall() == [("records", "9")]
    assert warehouse.execute("SELECT to_regclass('public.records')").fetchone() == (None,)
