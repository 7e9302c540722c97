"""
Look after the rows that could not be loaded.

Teaches: **failed records**. A sync with `max_errors` or `max_error_percent` goes on past rows that its table refuses
and keeps them in `etl_sync.failed_record`, with their values, the SQLSTATE and the error. Mend what was wrong (the
table, a missing parent row, or the payload of the record), then trigger this DAG by hand:

* `list` counts the open records by table and SQLSTATE. Values are never shown; read the table for them.
* `replay` loads them, each once. What fails again stays open. What a newer row has replaced is closed already.

Needs the connection `warehouse`, the database that the syncs load into.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_etl_sync import FailedRecordsOperator

with DAG(
    dag_id="failed_records",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    params={
        "action": Param(default="list", type="string", enum=["list", "replay"], title="What to do"),
        "sync_key": Param(
            default="orders", type="string", minLength=1, title="Sync", description="The sync_key of its DAG."
        ),
    },
    tags=["etl-sync"],
):
    FailedRecordsOperator(
        task_id="failed_records",
        destination_conn_id="warehouse",
        sync_key="{{ params.sync_key }}",
        action="{{ params.action }}",
    )
