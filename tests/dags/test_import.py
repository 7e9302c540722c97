"""Every template is read by Airflow without an error, has the tasks it promises, and is cheap to read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import airflow.sdk
import pytest

from tests.dags.conftest import TEMPLATES

CHAIN = ["orders.advance", "orders.extract", "orders.load"]
PARTITIONED = "PartitionedAtRuntime" if hasattr(airflow.sdk, "PartitionedAtRuntime") else None
EXPECTED = {
    "orders_hourly": {"schedule": "@hourly", "tasks": CHAIN},
    "users_every_15_minutes": {"schedule": "*/15 * * * *", "tasks": ["sync_users"]},
    "first_load_in_ranges": {"schedule": "@hourly", "tasks": ["load_range", "split", "sync"]},
    "users_in_time": {"schedule": "@hourly", "tasks": ["sync_users"]},
    "full_sync_nightly": {"schedule": "0 2 * * *", "tasks": CHAIN},
    "failed_records": {"schedule": None, "tasks": ["failed_records"]},
    "backfill": {"schedule": None, "tasks": CHAIN},
    "backfill_by_month": {"schedule": PARTITIONED, "tasks": ["load_month", "months", "note_partitions"]},
    "watermark_tools": {"schedule": None, "tasks": ["watermark"]},
    "orders_by_cdc": {"schedule": "*/5 * * * *", "tasks": ["capture", "set_up"]},
    "orders_by_cdc_on_change": {"schedule": ["shop_has_changed"], "tasks": ["capture", "set_up"]},
    "orders_by_binlog": {"schedule": "*/5 * * * *", "tasks": ["capture"]},
    "orders_from_api": {"schedule": "@hourly", "tasks": CHAIN},
    "orders_from_files": {"schedule": "@hourly", "tasks": CHAIN},
    "orders_from_mysql": {"schedule": "@hourly", "tasks": CHAIN},
    "orders_to_lake": {"schedule": "@hourly", "tasks": CHAIN},
    "orders_on_notify": {"schedule": ["shop_orders_changed"], "tasks": ["sync_orders"]},
    "revenue_when_orders_change": {"schedule": ["warehouse/public/fact_orders"], "tasks": ["add_up_revenue"]},
    "reconcile_nightly": {"schedule": "0 3 * * *", "tasks": ["reconcile_orders"]},
    "order_scores": {"schedule": "*/10 * * * *", "tasks": ["score_orders"]},
    "shop_orders": {"schedule": "@hourly", "tasks": ["sync.advance", "sync.extract", "sync.load"]},
    "shop_users": {"schedule": "*/15 * * * *", "tasks": ["sync"]},
    "shop_orders_deleted": {"schedule": "0 3 * * *", "tasks": ["reconcile"]},
    "shop_items_by_cdc": {"schedule": "*/5 * * * *", "tasks": ["capture", "set_up"]},
}
DECLARED = {name for name in EXPECTED if name.startswith("shop_")}
"""Those of ``syncs.yaml``, whose page is the entry itself."""

DESCRIBE = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(dag_folder=sys.argv[1])
describe = lambda dag: {
    "schedule": (
        [asset.name for asset in dag.schedule] if isinstance(dag.schedule, list)
        else dag.schedule if isinstance(dag.schedule, (str, type(None))) else type(dag.schedule).__name__
    ),
    "tasks": sorted(dag.task_ids),
    "catchup": dag.catchup,
    "max_active_runs": dag.max_active_runs,
    "doc_md": dag.doc_md or "",
    "sql": next((task.sql for task in dag.tasks if getattr(task, "sql", None)), None),
    "retries": sorted({task.retries for task in dag.tasks}),
    "retry_seconds": sorted({task.retry_delay.total_seconds() for task in dag.tasks}),
    "backoff": sorted({bool(task.retry_exponential_backoff) for task in dag.tasks}),
}
result = {
    "errors": bag.import_errors,
    "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
    "modules": sorted(set(sys.modules) - before),
}
print("RESULT" + json.dumps(result))
"""


@pytest.fixture(scope="module")
def parsed(airflow_environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-c", DESCRIBE, str(TEMPLATES)]
    done = subprocess.run(command, env=airflow_environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


def test_templates_import_without_error(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}


def test_templates_are_the_ones_promised(parsed: dict[str, Any]) -> None:
    dags = parsed["dags"]
    assert {name: {key: dag[key] for key in ("schedule", "tasks")} for name, dag in dags.items()} == EXPECTED


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_template_is_careful(parsed: dict[str, Any], dag_id: str) -> None:
    dags = parsed["dags"]
    dag = dags[dag_id]
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1
    assert dag["retries"] == [3]
    assert dag["retry_seconds"] == [30.0]
    assert ("destination_conn_id: warehouse" if dag_id in DECLARED else "Teaches: **") in dag["doc_md"]


def test_chains_wait_longer_after_each_try(parsed: dict[str, Any]) -> None:
    dags = parsed["dags"]
    assert dags["orders_hourly"]["backoff"] == [True]


@pytest.mark.parametrize("library", ["pyarrow", "adbc_driver_manager", "adbc_driver_postgresql", "psycopg"])
def test_reading_templates_loads_no_heavy_library(parsed: dict[str, Any], library: str) -> None:
    modules = parsed["modules"]
    assert library not in modules


def test_query_is_found_beside_its_dag(parsed: dict[str, Any]) -> None:
    """So it also is where the wheel puts both: Airflow replaces the name of a file by its text on reading."""
    dags = parsed["dags"]
    assert dags["orders_hourly"]["sql"].startswith("SELECT")
