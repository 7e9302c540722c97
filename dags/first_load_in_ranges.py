"""
The first load of a large table, by several workers at the same time; then the sync, hour by hour.

Teaches: **parallel reading**. The first run cuts the table into ranges of `updated_at` with about as many rows in
each, and a mapped task loads each range: as many at a time as `max_active_tis_per_dagrun` and the pool allow, on
whichever workers there are. The sync itself then begins where the last range ends. Later runs find its watermark, so
there is nothing to split any more: they only sync.

* A range is a backfill: it never moves the watermark, and a range that fails is retried alone.
* `following` is where the last range ends. Everything below it could be seen when it was chosen, so no row falls
  between the ranges and the sync. Rows without a cursor are read by the sync.
* `latest_wins` keeps a range that is loaded late from overwriting a newer version of a row.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG
from airflow.task.trigger_rule import TriggerRule

from airflow_etl_sync import IncrementalSyncOperator, SplitRangesOperator

with DAG(
    dag_id="first_load_in_ranges",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    ORDERS = {
        "sync_key": "all_orders",
        "source_conn_id": "shop_db",
        "table": "public.orders",
        "cursor_field": "updated_at",
    }
    INTO = {"destination_conn_id": "warehouse", "destination_table": "public.all_orders", "conflict": "latest_wins"}

    split = SplitRangesOperator(task_id="split", state_conn_id="warehouse", parts=8, **ORDERS)
    load = IncrementalSyncOperator.partial(
        task_id="load_range", max_active_tis_per_dagrun=4, map_index_template="up to {{ task.range_end }}",
        **ORDERS, **INTO,
    ).expand_kwargs(split.output)  # fmt: skip
    sync = IncrementalSyncOperator(
        task_id="sync",
        initial_value="{{ ti.xcom_pull(task_ids='split', key='following') }}",
        trigger_rule=TriggerRule.NONE_FAILED,
        **ORDERS,
        **INTO,
    )
    load >> sync
