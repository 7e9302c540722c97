"""
Load a range of the past again.

Teaches: **a backfill with a form**. Trigger it by hand: Airflow asks for the first day and for the day after
the last one, and the templates below pass them on. A run with `range_start` or `range_end` reads that range of
`updated_at` and upserts it; it **never moves the watermark** of the hourly sync, which goes on as if nothing had
been. `latest_wins` keeps what the hourly sync has loaded meanwhile.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="backfill",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    params={
        "range_start": Param(type="string", format="date", title="From", description="The first day (UTC)."),
        "range_end": Param(type="string", format="date", title="To", description="The day after the last (UTC)."),
    },
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="orders",
        source_conn_id="shop_db",
        sql="sql/orders.sql",
        primary_key=["order_id"],
        cursor_field="updated_at",
        range_start="{{ params.range_start }}",
        range_end="{{ params.range_end }}",
        destination_conn_id="warehouse",
        destination_table="public.fact_orders",
        conflict="latest_wins",
        synced_at_column="synced_at",
    )
