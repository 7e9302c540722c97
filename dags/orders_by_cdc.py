"""
Orders and users by change data capture, every 5 minutes.

Teaches: **`CdcSyncOperator`**. The shop's database writes every change into its log; a *replication slot* keeps the
part of it that was not read yet. This DAG reads that part and applies it: inserts, updates, **deletes and changed
keys**, which no `updated_at` shows.

* `CdcSetUpOperator` makes the publication and the slot. It may run every time: what is there is left.
* The first run copies the tables, and each one after it applies what has happened since the one before, then ends.
  Rows and position are committed together, so a task that is killed is simply run again.
* Every table is captured in the order of commits, several of them in one stream: an order never comes before its user.
* `delete="soft"` would keep deleted rows and set their `_sync_deleted`; `apply="history"` would append every change as
  a row of its own.
* A slot that nobody reads fills the disk of the shop's database. The task warns; to stop capturing for good, run
  `CdcTearDownOperator`.

Needs two connections: `shop_cdc` of type *PostgreSQL change data capture*, with a slot and the tables
`public.users, public.orders`, whose Test button says what is amiss (`wal_level` must be `logical`, and the login
must be one that may replicate); and `warehouse` of type *Postgres* to apply changes to.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import CdcSetUpOperator, CdcSyncOperator

with DAG(
    dag_id="orders_by_cdc",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    set_up = CdcSetUpOperator(task_id="set_up", source_conn_id="shop_cdc")
    capture = CdcSyncOperator(
        task_id="capture",
        sync_key="orders_by_cdc",
        source_conn_id="shop_cdc",
        destination_conn_id="warehouse",
        destination_tables={"public.users": "public.users_live", "public.orders": "public.orders_live"},
        synced_at_column="synced_at",
    )
    set_up >> capture
