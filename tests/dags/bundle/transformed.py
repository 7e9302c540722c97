"""Syncs whose rows are masked and joined on their way, in either form and from YAML."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, dags_from_yaml, incremental_sync
from airflow_etl_sync.transforms import mask


def check_rows(rows: pa.Table) -> pa.Table:
    """Refuse an order."""
    if 7 in rows.column("id").to_pylist():
        raise ValueError("order 7 of secret@example.com")
    return rows


MASKED = mask(hash="user_id", secret_variable="pii_secret")
SQL = "SELECT batch.*, regions.name AS region FROM batch LEFT JOIN regions ON batch.id % 2 = regions.id"
TERMS: dict[str, Any] = {
    "source_conn_id": "shop_db",
    "destination_conn_id": "warehouse",
    "cursor_field": "updated_at",
    "table": "public.orders",
    "transform": [check_rows, MASKED],
    "transform_sql": "{{ params.transform_sql or '" + SQL + "' }}",
    "lookups": {"regions": "{{ params.regions }}"},
    "max_errors": "{{ params.max_errors }}",
}
PARAMS = {"max_errors": 1, "transform_sql": "", "regions": "public.regions"}
DEFAULTS: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(0)}

with DAG("transformed_chain", schedule=None, params=PARAMS, default_args=DEFAULTS):
    incremental_sync(group_id="orders", sync_key="chain", destination_table="public.chain", chunk_rows=100, **TERMS)

with DAG("transformed_one_task", schedule=None, params=PARAMS, default_args=DEFAULTS):
    IncrementalSyncOperator(task_id="sync", sync_key="one_task", destination_table="public.one_task", **TERMS)

dags_from_yaml(Path(__file__).with_name("transformed.yaml"))
