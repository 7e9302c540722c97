"""
Everything once more, every night at 2.

Teaches: **`full_refresh`**. An incremental sync sees a change only where the cursor grew. A correction by hand, an
old program that forgets `updated_at`, a user's new e-mail address (the hourly sync goes by the orders' time alone)
are seen by nobody but a run that reads everything. The rows that are the same are counted as skipped and not
written again.

* It has a `sync_key` of its own, because the hourly sync starts at 2 as well and one sync cannot run twice at a time.
* `latest_wins` lets a row that the hourly sync has loaded meanwhile stand: the night's copy of it is older.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="full_sync_nightly",
    doc_md=__doc__,
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="orders_nightly",
        source_conn_id="shop_db",
        sql="sql/orders.sql",
        primary_key=["order_id"],
        cursor_field="updated_at",
        full_refresh=True,
        destination_conn_id="warehouse",
        destination_table="public.fact_orders",
        conflict="latest_wins",
        synced_at_column="synced_at",
    )
