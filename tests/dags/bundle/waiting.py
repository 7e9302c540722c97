"""Tasks that wait for a notification, and for what a slot has not read, with every argument in a template."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_etl_sync import PostgresNotifySensor, ReplicationSlotSensor

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

with DAG(dag_id="waiting_for_a_slot", schedule=None, params={"slot": Param("none"), "poll_seconds": Param("0.2")}):
    ReplicationSlotSensor(
        task_id="wait",
        conn_id="{{ 'shop_db' }}",
        slot="{{ params.slot }}",
        poll_seconds="{{ params.poll_seconds }}",
        timeout=60,
    )
