"""Other databases as sources: in one task, from YAML, and through a hook that speaks SQLAlchemy."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, ReconcileOperator, dags_from_yaml, incremental_sync

dags_from_yaml(Path(__file__).with_name("other_databases.yaml"))

for system in ("mysql", "sqlite", "hook"):
    with DAG(f"one_task_from_{system}", schedule=None):
        IncrementalSyncOperator(
            task_id="sync", sync_key=f"one_task_{system}", source_conn_id=f"shop_{system}", table="orders",
            cursor_field="updated_at", lag="PT1M", destination_conn_id="warehouse",
            destination_table=f"public.from_{system}", dry_run="{{ params.get('dry_run', False) }}",
            params={"dry_run": False},
        )  # fmt: skip

    with DAG(f"reconcile_from_{system}", schedule=None):
        ReconcileOperator(
            task_id="reconcile", sync_key=f"one_task_{system}", source_conn_id=f"shop_{system}", table="orders",
            destination_conn_id="warehouse", destination_table=f"public.from_{system}", delete="soft",
        )  # fmt: skip

for system in ("mysql", "sqlite", "hook"):
    with DAG(f"into_{system}", schedule=None):
        incremental_sync(
            group_id="orders", sync_key=f"into_{system}", source_conn_id="shop_db", table="public.orders",
            cursor_field="updated_at", destination_conn_id=f"lake_{system}", destination_table="orders_copy",
            state_conn_id="warehouse", chunk_rows=200,
        )  # fmt: skip
    with DAG(f"one_task_into_{system}", schedule=None):
        IncrementalSyncOperator(
            task_id="sync", sync_key=f"one_task_into_{system}", source_conn_id="shop_db", table="public.orders",
            cursor_field="updated_at", destination_conn_id=f"lake_{system}", destination_table="orders_once",
            state_conn_id="{{ params.get('state', 'warehouse') }}", chunk_rows=200, params={"state": "warehouse"},
        )  # fmt: skip

with DAG("state_apart", schedule=None):
    IncrementalSyncOperator(
        task_id="sync", sync_key="state_apart", source_conn_id="shop_db", table="public.orders",
        cursor_field="updated_at", destination_conn_id="warehouse", destination_table="public.orders_once",
        state_conn_id="shop_db",
    )  # fmt: skip
