"""
Orders of a shop on MySQL or MariaDB, every hour, into PostgreSQL.

Teaches: **another database as the source**. Only the connection is another one: `shop_mysql` is of type *MySQL*, and
the sync is the same as ever. Types, columns and key are taken over; the first run creates `public.mysql_orders`.

* `lag` is how far the watermark stays behind. MySQL does not tell which transactions are in flight, so set it to more
  than the longest of them takes. Rows within it are read again by the next run, which skips them: a long lag costs
  reading, and delays nothing. Without one it is five minutes.
* `cursor_field` is a column that MySQL sets: `updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE
  CURRENT_TIMESTAMP(6)`, with an index.

Needs `pip install 'airflow-etl-sync[mysql]'` and two connections: `shop_mysql` of type *MySQL* to read from, whose
login needs `SELECT` only, and `warehouse` of type *Postgres* to load into.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="orders_from_mysql",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="mysql_orders",
        source_conn_id="shop_mysql",
        table="orders",
        cursor_field="updated_at",
        lag=timedelta(minutes=10),
        destination_conn_id="warehouse",
        destination_table="public.mysql_orders",
    )
