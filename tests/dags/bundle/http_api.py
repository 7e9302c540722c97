"""A JSON API as the source: in one task, from YAML, and with an endpoint that is a template."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, dags_from_yaml

dags_from_yaml(Path(__file__).with_name("http_api.yaml"))

with DAG("one_task_from_api", schedule=None, params={"endpoint": None, "path": "/v1/orders", "dry_run": False}):
    IncrementalSyncOperator(
        task_id="sync", sync_key="one_task_api", source_conn_id="shop_api", cursor_field="updated_at", primary_key="id",
        endpoint={"path": "{{ params.path }}", "records": "data", "pages": {"type": "cursor"}}, lag="PT1M",
        destination_conn_id="warehouse", destination_table="public.from_api", dry_run="{{ params.dry_run }}",
    )  # fmt: skip

with DAG("templated_from_api", schedule=None, params={"endpoint": ""}):
    IncrementalSyncOperator(
        task_id="sync", sync_key="templated_api", source_conn_id="shop_api", cursor_field="updated_at",
        primary_key="id", endpoint="{{ params.endpoint }}", table="{{ params.table }}",
        destination_conn_id="warehouse", destination_table="public.from_api", params={"table": ""},
    )  # fmt: skip
