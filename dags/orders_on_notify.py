"""
Orders within seconds, when PostgreSQL says that they changed.

Teaches: **runs on NOTIFY**. An asset watcher listens to the channel `orders_changed`; a notification, or a burst of
them, makes one run. NOTIFY only wakes: what changed is read by the same incremental sync as on a schedule, so a
notification that is lost delays a change and never loses it. Every five minutes the watcher also asks the table
itself, and after each break of its connection it fires once.

The source tells of changes once triggers are made, with a login that owns the table:

    from airflow_etl_sync import PostgresCdcHook

    PostgresCdcHook("shop_db").apply_notify_triggers("public.orders", "orders_changed")

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into; and a triggerer.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_etl_sync import IncrementalSyncOperator, PostgresNotifyTrigger

orders_changed = Asset(
    "shop_orders_changed",
    watchers=[
        AssetWatcher(
            name="orders_notify",
            trigger=PostgresNotifyTrigger(
                conn_id="shop_db",
                channel="orders_changed",
                table="public.orders",
                cursor_field="updated_at",
            ),
        )
    ],
)

with DAG(
    dag_id="orders_on_notify",
    doc_md=__doc__,
    schedule=[orders_changed],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):
    IncrementalSyncOperator(
        task_id="sync_orders",
        sync_key="orders_on_notify",
        source_conn_id="shop_db",
        table="public.orders",
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table="public.orders",
    )
