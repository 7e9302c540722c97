"""The chain as a deployment of several machines runs it: staging comes from the deployment's settings."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG("orders_on_workers", schedule=None):
    incremental_sync(
        group_id="orders",
        sync_key="orders",
        source_conn_id="shop_db",
        table="public.orders",
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table="public.orders",
        chunk_rows=100,
        load_parts=4,
        default_args={"retries": 5, "retry_delay": timedelta(seconds=1), "retry_exponential_backoff": False},
    )
