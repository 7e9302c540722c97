"""
Orders and users by change data capture, within seconds of a change.

Teaches: **runs when a slot has something to read**. It is `orders_by_cdc` without a timetable: an asset watcher asks
the shop's database every few seconds how far its log goes behind what the replication slot has given, and a run reads
it. Nothing needs to be installed in the shop's database, and nothing is missed while Airflow is down: the slot keeps
it.

* A slot that is not there wakes, too. So the first run makes publication and slot and copies the tables.
* Changes that come while a run reads make one more run, not many. At rest nothing runs.
* The log belongs to all databases of a server: a run that others have woken finds nothing and frees the log. Where the
  warehouse is on the shop's own server, each run wakes the next one: take `orders_by_cdc` there.

Needs two connections of type *Postgres*: `shop_db` to read from (`wal_level` must be `logical`, and the login one that
may replicate and owns the tables) and `warehouse` to apply changes to; and a triggerer.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_etl_sync import CdcSetUpOperator, CdcSyncOperator, ReplicationSlotTrigger

SLOT = "orders_on_change"  # unique on the server
TABLES = ["public.users", "public.orders"]

shop_has_changed = Asset(
    "shop_has_changed",
    watchers=[
        AssetWatcher(name="orders_slot", trigger=ReplicationSlotTrigger(conn_id="shop_db", slot=SLOT, poll_seconds=5))
    ],
)

with DAG(
    dag_id="orders_by_cdc_on_change",
    doc_md=__doc__,
    schedule=[shop_has_changed],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    set_up = CdcSetUpOperator(task_id="set_up", source_conn_id="shop_db", slot=SLOT, tables=TABLES)
    capture = CdcSyncOperator(
        task_id="capture",
        sync_key="orders_by_cdc_on_change",
        source_conn_id="shop_db",
        slot=SLOT,
        tables=TABLES,
        destination_conn_id="warehouse",
        destination_tables={"public.users": "public.users_now", "public.orders": "public.orders_now"},
    )
    set_up >> capture
