"""Prices into a table away from the state, by whichever connection the run names."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, incremental_sync

ARGUMENTS: dict[str, Any] = {
    "sync_key": "prices", "source_conn_id": "shop_db", "table": "public.prices", "cursor_field": "changed",
    "destination_conn_id": "{{ params.mart }}", "destination_table": "prices", "state_conn_id": "warehouse",
    "max_errors": 5, "full_refresh": True,
}  # fmt: skip

with DAG("prices_chain", schedule=None, params={"mart": "mart"}):
    incremental_sync(group_id="prices", **ARGUMENTS)

with DAG("prices_one_task", schedule=None, params={"mart": "mart"}):
    IncrementalSyncOperator(task_id="sync", **ARGUMENTS)
