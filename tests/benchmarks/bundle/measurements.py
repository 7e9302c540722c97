"""The benchmark's sync as one task and as a chain."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, incremental_sync

SYNC: dict[str, Any] = {
    "sync_key": "measurements",
    "source_conn_id": "benchmark_source",
    "destination_conn_id": "benchmark_target",
    "table": "public.measurement",
    "destination_table": "public.measurement",
    "cursor_field": "updated_at",
    "chunk_rows": "{{ dag_run.conf['chunk_rows'] }}",
}

with DAG("one_task_airflow", schedule=None):
    IncrementalSyncOperator(task_id="sync", **SYNC)

with DAG("chain_airflow", schedule=None):
    incremental_sync(group_id="sync", **SYNC)

with DAG("warm_up", schedule=None):
    EmptyOperator(task_id="nothing")
