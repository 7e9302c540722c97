"""Files as a source: in one task, and from YAML."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator, dags_from_yaml

dags_from_yaml(Path(__file__).with_name("files.yaml"))

with DAG("one_task_from_files", schedule=None):
    IncrementalSyncOperator(
        task_id="sync", sync_key="one_task_files", uri="{{ params.uri }}", file_options="{{ params.file_options }}",
        source_conn_id="{{ params.conn_id }}", primary_key="id", cursor_field="file_modified",
        destination_conn_id="warehouse", destination_table="public.from_files", dry_run="{{ params.dry_run }}",
        params={"uri": None, "file_options": None, "conn_id": None, "dry_run": False},
    )  # fmt: skip
