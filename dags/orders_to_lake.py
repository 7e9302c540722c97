"""
Orders of a shop on PostgreSQL, every hour, into a Delta table of a lake on object storage.

Teaches: **a destination that is no database**. Only its connection is another one: `lake` is of type *Delta Lake*, and
says where tables lie. Keys, conflict strategies, schema contracts and failed records are the same as ever, and each
chunk is one commit of the table.

* `state_conn_id` names a PostgreSQL database, which keeps the watermark and what each run came to, in schema
  `etl_sync`. Any will do, and the lake's readers never need it.
* `load_parts` is 1, since commits to one table come one after another anyway.
* `day` is computed in the query, and the connection's extra `{"partition_by": {"shop.orders": ["day"]}}` makes it the
  column by which the first run partitions the new table.

Needs `pip install 'airflow-etl-sync[delta,s3]'` and three connections: `shop_db` and `warehouse` of type *Postgres*,
and `lake` of type *Delta Lake*, whose host is a directory, or `s3://CONN_ID@BUCKET/PREFIX` with the id of a connection
of type *Amazon Web Services*.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="orders_to_lake",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="orders_to_lake",
        source_conn_id="shop_db",
        sql="SELECT *, (created_at AT TIME ZONE 'UTC')::date AS day FROM public.orders",
        primary_key="id",
        cursor_field="updated_at",
        destination_conn_id="lake",
        destination_table="shop.orders",
        state_conn_id="warehouse",
        load_parts=1,
    )
