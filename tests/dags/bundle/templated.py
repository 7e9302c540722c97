"""Syncs whose every argument comes from the run's configuration, so that Jinja turns all of them into text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_etl_sync import (
    CdcSetUpOperator,
    CdcSyncOperator,
    CdcTearDownOperator,
    IncrementalSyncOperator,
    ReconcileOperator,
    incremental_sync,
)

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError:  # before Airflow 3.3
    OWN_POLICY: dict[str, Any] = {}
else:
    RULES = [RetryRule(exception="airflow_etl_sync.SourceError", action=RetryAction.FAIL)]
    OWN_POLICY = {"retry_policy": ExceptionRetryPolicy(RULES)}

ARGUMENTS: dict[str, Any] = {
    "source_conn_id": "shop_db",
    "destination_conn_id": "warehouse",
    "sync_key": "templated",
    "cursor_field": "updated_at",
    "destination_table": "public.copy",
    "table": "",
    "sql": "",
    "primary_key": [],
    "columns": "",
    "where": None,
    "lag": "0:00:00",
    "initial_value": None,
    "on_cursor_null": "include",
    "range_start": None,
    "range_end": None,
    "full_refresh": False,
    "conflict": "source_wins",
    "conflict_field": None,
    "create_table": True,
    "synced_at_column": None,
    "schema_contract": "evolve",
    "max_errors": None,
    "max_error_percent": None,
    "chunk_rows": 100,
    "dry_run": False,
}
RECONCILE_ARGUMENTS: dict[str, Any] = {
    **{
        name: ARGUMENTS[name]
        for name in (
            "source_conn_id", "destination_conn_id", "sync_key", "destination_table", "table", "sql", "primary_key",
            "where", "synced_at_column",
        )
    },
    "destination_where": None,
    "delete": None,
    "max_delete_percent": None,
    "add_column": None,
}  # fmt: skip

SLOT_ARGUMENTS: dict[str, Any] = {"source_conn_id": "shop_db", "slot": None, "publication": None}

HISTORY_ARGUMENTS: dict[str, Any] = {
    "destination_conn_id": "warehouse",
    "sync_key": "history",
    "tables": "public.orders",
    "destination_tables": {"public.orders": "public.orders_history"},
    "apply": "history",
    "delete": None,
    "conflict": None,
    "copy_existing": True,
    "resync": False,
}


def as_templates(arguments: dict[str, Any]) -> dict[str, Any]:
    """Make a template of each argument that takes its value from the run's parameters."""
    return {name: "{{ params." + name + " }}" for name in arguments}


TEMPLATES = as_templates(ARGUMENTS)


DEFAULTS: dict[str, Any] = {
    "retries": 1,
    "retry_delay": timedelta(0),
    "retry_exponential_backoff": False,
}

with DAG("templated_chain", schedule=None, params=ARGUMENTS | {"staging_uri": ""}, default_args=DEFAULTS):
    incremental_sync(
        group_id="chain", load_parts="{{ 2 + 1 }}", staging_uri="{{ params.staging_uri }}", **TEMPLATES
    )  # fmt: skip

with DAG("templated_one_task", schedule=None, params=ARGUMENTS, default_args=DEFAULTS):
    IncrementalSyncOperator(task_id="sync", **TEMPLATES)

with DAG("own_policy", schedule=None, params=ARGUMENTS, default_args=DEFAULTS | OWN_POLICY):
    IncrementalSyncOperator(task_id="sync", **TEMPLATES)

with DAG("templated_reconcile", schedule=None, params=RECONCILE_ARGUMENTS, default_args=DEFAULTS):
    ReconcileOperator(task_id="reconcile", **as_templates(RECONCILE_ARGUMENTS))

with DAG("templated_slot", schedule=None, params=SLOT_ARGUMENTS | {"tables": None}, default_args=DEFAULTS):
    made = CdcSetUpOperator(task_id="set_up", tables="{{ params.tables }}", **as_templates(SLOT_ARGUMENTS))
    made >> CdcTearDownOperator(task_id="tear_down", **as_templates(SLOT_ARGUMENTS))

with DAG("history_by_cdc", schedule=None, params=HISTORY_ARGUMENTS, default_args=DEFAULTS):
    ready = CdcSetUpOperator(task_id="set_up", source_conn_id="shop_cdc")
    ready >> CdcSyncOperator(task_id="capture", source_conn_id="shop_cdc", **as_templates(HISTORY_ARGUMENTS))

with DAG("dry_users", schedule=None, params={"dry_run": False}, default_args=DEFAULTS):
    IncrementalSyncOperator(
        task_id="sync", sync_key="dry_users", source_conn_id="shop_db", destination_conn_id="warehouse",
        cursor_field="updated_at", table="public.users", destination_table="public.dry_users",
        dry_run="{{ params.dry_run }}",
    )  # fmt: skip
