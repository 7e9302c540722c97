"""Syncs that transform their rows, run by Airflow: masked, joined, with rows that fail; in every form."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import pytest

from tests.dags.conftest import ORDERS, Airflow, watermarks

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop

SECRET = "a secret of the tests alone"
FORMS = [("transformed_chain", "orders.load", "public.chain"), ("transformed_one_task", "sync", "public.one_task")]


@pytest.fixture(autouse=True)
def regions(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE regions AS SELECT * FROM (VALUES (0, 'north'), (1, 'south')) AS region (id, name)")
    airflow.connections["AIRFLOW_VAR_PII_SECRET"] = SECRET


@pytest.mark.parametrize(("dag_id", "task_id", "table"), FORMS)
def test_rows_are_transformed_on_their_way(
    airflow: Airflow, source: psycopg.Connection, warehouse: psycopg.Connection, dag_id: str, task_id: str, table: str
) -> None:
    run = airflow.run(dag_id)
    assert run.state == "success", run.errors
    assert run.counts(task_id) == {"inserted": ORDERS - 1, "updated": 0, "skipped": 0, "errors": 1}
    users: dict[int, str] = dict(source.execute("SELECT id, user_id::text FROM orders WHERE id <> 7").fetchall())
    masked = {id_: hmac.digest(SECRET.encode(), user.encode(), "sha256").hex() for id_, user in users.items()}
    assert dict(warehouse.execute(f"SELECT id, user_id FROM {table}").fetchall()) == masked
    regions = warehouse.execute(f"SELECT id % 2, region FROM {table} GROUP BY 1, 2 ORDER BY 1").fetchall()
    assert regions == [(0, "north"), (1, "south")]
    failed = warehouse.execute("SELECT key::text, error FROM etl_sync.failed_record").fetchall()
    assert failed == [('["7"]', "ValueError: order 7 of secret@example.com")]
    assert "secret@example.com" not in run.log and SECRET not in run.log


def test_a_row_that_fails_fails_the_run_at_once_without_a_value(
    airflow: Airflow, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("transformed_chain", max_errors=0)
    assert (run.state, run.tries) == ("failed", 1)
    assert "ValueError, transformed.py line" in run.log and "secret@example.com" not in run.log
    assert watermarks(warehouse) == []


def test_a_lookup_that_is_not_there_says_so(airflow: Airflow) -> None:
    run = airflow.run("transformed_one_task", regions="public.nothing")
    assert (run.state, run.tries) == ("failed", 1)
    assert "has no table 'public.nothing' to be the lookup 'regions'" in run.errors[0]


def test_a_mask_without_its_secret_loads_nothing(airflow: Airflow, warehouse: psycopg.Connection) -> None:
    airflow.connections["AIRFLOW_VAR_PII_SECRET"] = "short"
    run = airflow.run("transformed_chain")
    assert "mask needs a secret of at least 16 characters in the variable 'pii_secret'" in run.errors[0]
    assert warehouse.execute("SELECT to_regclass('public.chain')").fetchone() == (None,)


def test_a_transform_from_yaml(airflow: Airflow, warehouse: psycopg.Connection) -> None:
    run = airflow.run("transformed_declared")
    assert run.state == "success", run.errors
    loud = warehouse.execute("SELECT count(*) FROM declared WHERE loud = upper(status)").fetchone()
    assert loud == (ORDERS,)
