"""
Orders every hour, into a fact table.

Teaches: **a query as the stream**. `sql/orders.sql` joins each order with its user and adds up its items; the
sync reads only the rows of it whose `updated_at` grew since the last run, and upserts them into
`public.fact_orders`, which the first run creates.

* `primary_key` says which columns name a row of the query. A query has no key of its own.
* `cursor_field` is the column that grows when a row changes. It is a plain column with an index in the query, so
  the database finds the changed orders without looking at the others.
* `latest_wins` keeps an older version of an order from overwriting a newer one, for example after a backfill.
* `synced_at_column` tells when each row of the warehouse last changed.
* `full_refresh` is a box to tick when the DAG is triggered by hand: that run reads everything once more.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, Param

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="orders_hourly",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    params={
        "full_refresh": Param(
            default=False, type="boolean", title="Full refresh", description="Read everything, this once."
        ),
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
        full_refresh="{{ params.full_refresh }}",
        destination_conn_id="warehouse",
        destination_table="public.fact_orders",
        conflict="latest_wins",
        synced_at_column="synced_at",
    )
