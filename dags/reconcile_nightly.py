"""
Orders that were deleted, every night at 3.

Teaches: **`ReconcileOperator`**. A deleted row has no `updated_at` any more, so no incremental sync sees it go. This
task compares the keys of the shop's orders with those of `public.fact_orders`, and flags the rows whose order is
gone: `delete="soft"` sets their `_sync_deleted`, a column that the first run adds. An order that comes back is live
again. `delete="hard"` would delete the rows.

* The query and the `primary_key` are those of the hourly sync. It may run at the same time: before a row is flagged
  the shop is asked once more, so an order that the sync brings meanwhile stays.
* `max_delete_percent` stops the task, before it changes anything, where so many orders are gone that the shop is
  more likely to be wrong: somebody emptied the table, or restored an old copy.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import ReconcileOperator

with DAG(
    dag_id="reconcile_nightly",
    doc_md=__doc__,
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    ReconcileOperator(
        task_id="reconcile_orders",
        sync_key="orders",
        source_conn_id="shop_db",
        sql="sql/orders.sql",
        primary_key=["order_id"],
        destination_conn_id="warehouse",
        destination_table="public.fact_orders",
        delete="soft",
        max_delete_percent=5,
        synced_at_column="synced_at",
    )
