"""A task that waits for a notification, with every argument in a template."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_etl_sync import PostgresNotifySensor

with DAG(
    dag_id="waiting",
    schedule=None,
    params={"conn_id": Param("shop_db"), "channel": Param("it's ready"), "poll_seconds": Param("30")},
):
    PostgresNotifySensor(
        task_id="wait",
        conn_id="{{ params.conn_id }}",
        channel="{{ params.channel }}",
        poll_seconds="{{ params.poll_seconds }}",
        coalesce_seconds="{{ 0.1 }}",
        timeout=60,
    )
