"""A dry run tells what a run would read, and changes nothing: not even the state tables are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import ORDERS, Airflow, Run, watermarks

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop

DAGS = ["templated_chain", "templated_one_task"]
TABLE = {"table": "public.orders"}


def plan_of(run: Run) -> dict[str, Any]:
    """The plan that the one task returned, or else the one that the log tells of."""
    [result] = run.results("sync") or [{}]
    return dict(result or {})


def everything(warehouse: psycopg.Connection) -> list[tuple[Any, ...]]:
    """All relations of a database but the server's own, and how many rows were ever written to each."""
    query = """SELECT oid::regclass::text, pg_stat_get_live_tuples(oid) FROM pg_class
        WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1"""
    return warehouse.execute(query).fetchall()


@pytest.mark.parametrize("dag_id", DAGS)
def test_a_dry_run_tells_and_changes_nothing(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection, dag_id: str
) -> None:
    source.execute("ANALYZE public.orders")
    dry = airflow.run(dag_id, **TABLE, dry_run="true")
    assert dry.errors == ()
    states = {task["task_id"]: task["state"] for task in dry.tasks}
    assert set(states.values()) == ({"success"} if dag_id == "templated_one_task" else {"skipped"}), states
    assert f", about {ORDERS} rows" in dry.log and 'FROM "public"."orders"' in dry.log
    assert everything(warehouse) == []

    assert airflow.run(dag_id, **TABLE).state == "success"
    shop.change_orders(first=10, orders=20)
    source.execute("ANALYZE public.orders")
    before = (watermarks(warehouse), everything(warehouse))
    again = airflow.run(dag_id, **TABLE, dry_run=True)
    assert "Dry run of templated: from 20" in again.log
    assert (watermarks(warehouse), everything(warehouse)) == before
    if dag_id == "templated_one_task":
        plan = plan_of(again)
        assert (plan["dry_run"], plan["window"]["low"]["type"]) == (True, "timestamptz")
        assert 0 < plan["estimated_rows"] < ORDERS
        assert all("current_setting" in statement for statement in plan["statements"])
    assert airflow.run(dag_id, **TABLE).state == "success", "the next run is none the wiser"


@pytest.mark.parametrize("dag_id", DAGS)
def test_a_dry_run_refuses_what_a_run_would(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection, dag_id: str
) -> None:
    run = airflow.run(dag_id, table="public.nothing", dry_run=True)
    assert (run.state, run.tries) == ("failed", 1)
    assert "public.nothing" in run.errors[0]
    wrong = airflow.run(dag_id, **TABLE, dry_run="perhaps")
    assert "dry_run must be true or false, not 'perhaps'" in wrong.errors[0]
    assert everything(warehouse) == []
