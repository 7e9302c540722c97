"""The DAGs of a shop, for pictures."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG

from airflow_etl_sync import CdcSetUpOperator, CdcSyncOperator, IncrementalSyncOperator

SCHEDULES = {
    "orders": "@hourly",
    "customers": "@hourly",
    "invoices": "@daily",
    "live": "*/5 * * * *",
    "stock": "@daily",
}


def dag(dag_id: str) -> DAG:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return DAG(
        dag_id,
        schedule=SCHEDULES[dag_id],
        start_date=start,
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 0 if dag_id == "invoices" else 2, "retry_delay": timedelta(seconds=5)},
    )


def sync(sync_key: str, table: str, **rules: Any) -> None:
    IncrementalSyncOperator(
        task_id="sync",
        sync_key=sync_key,
        source_conn_id="shop_db",
        table=f"public.{table}",
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table=f"public.{sync_key}",
        **rules,
    )


with dag("orders"):
    sync("orders", "orders")

with dag("customers"):
    sync("customers", "users", max_errors=10)

with dag("invoices"):
    sync("invoices", "invoices")

with dag("stock"):
    sync("stock", "stock")

with dag("live"):
    set_up = CdcSetUpOperator(task_id="set_up", source_conn_id="shop_cdc")
    set_up >> CdcSyncOperator(
        task_id="capture",
        sync_key="live",
        source_conn_id="shop_cdc",
        destination_conn_id="warehouse",
        destination_tables={"public.users": "public.customers_live"},
    )
