"""
Keep users, orders and items in step by the source's log, every five minutes.

Teaches: **change data capture**. The source tells in its log of every insert, update and delete; a replication slot
keeps what has not been read yet. The first run makes publication and slot and copies the tables, each further run
applies what has happened since: deleted rows go, changed keys move, and no column needs to grow.

* `source_conn_id` is a connection of type *PostgreSQL change data capture*, whose form asks for slot, publication and
  tables and whose Test button says what stands in the way. Here slot and tables are given with the operator.
* The source needs `wal_level=logical` and a role with `REPLICATION`. It keeps its log until it is read: when this DAG
  is given up, run a `CdcTearDownOperator` once, or its disk fills.

Needs the connections `shop_db` and `warehouse`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import CdcSyncOperator

with DAG(
    dag_id="orders_by_cdc",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
    },
    tags=["etl-sync"],
):
    CdcSyncOperator(
        task_id="capture",
        sync_key="shop_changes",
        source_conn_id="shop_db",
        slot="airflow_shop",
        tables=["public.users", "public.orders", "public.items"],
        destination_conn_id="warehouse",
        destination_schema="shop",
    )
