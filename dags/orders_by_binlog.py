"""
Orders of a shop on MySQL or MariaDB by change data capture, every 5 minutes, into PostgreSQL.

Teaches: **capture from a binary log**. Only the connection is another one than for `orders_by_cdc`, and nothing is set
up: the server writes its log for whoever reads it, and this package keeps its own position in it, together with the
rows.

* The first run copies the tables, and each one after it applies what has happened since: inserts, updates, **deletes
  and changed keys**, in the order of commits.
* The server removes its log after a time (`binlog_expire_logs_seconds`), whether it was read or not. Where it has
  removed too much, the task says so and changes nothing; a run with `resync` copies the tables afresh.
* What a foreign key's cascade deletes, and what a dropped partition held, is not in the log: the task warns of it.

Needs `pip install 'airflow-etl-sync[mysql]'`, a server with `log_bin`, `binlog_format = ROW` and `binlog_row_metadata =
FULL`, and two connections: `shop_binlog` of type *MySQL or MariaDB change data capture*, with the tables `users,
orders`, whose Test button says what is amiss (the login needs `SELECT`, and to read the log); and `warehouse` of type
*Postgres* to apply changes to.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import CdcSyncOperator

with DAG(
    dag_id="orders_by_binlog",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    CdcSyncOperator(
        task_id="capture",
        sync_key="orders_by_binlog",
        source_conn_id="shop_binlog",
        destination_conn_id="warehouse",
        destination_tables={"users": "public.users_live", "orders": "public.orders_live"},
        synced_at_column="synced_at",
    )
