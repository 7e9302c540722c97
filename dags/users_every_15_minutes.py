"""
Users every 15 minutes, in one task.

Teaches: **the one-task form**. A small table that is synced often needs neither staging nor three tasks:
`IncrementalSyncOperator` reads, upserts and moves the watermark in one, and commits them together.

Table, key and types are taken over from the source: the first run creates `public.users` in the warehouse.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator

with DAG(
    dag_id="users_every_15_minutes",
    doc_md=__doc__,
    schedule="*/15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    IncrementalSyncOperator(
        task_id="sync_users",
        sync_key="users",
        source_conn_id="shop_db",
        table="public.users",
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table="public.users",
    )
