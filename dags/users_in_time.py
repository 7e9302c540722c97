"""
Users every hour, with a word to those on call when a run is not done in time.

Teaches: **a deadline**. On Airflow 3.2 and later, a run that is not done 30 minutes after it was due has missed its
deadline, whether it waits, hangs, is tried again or has failed: Airflow's scheduler sends the mail then, and does not
wait for the end of the run. The page *ETL Sync* says why it is late. Any of Airflow's notifiers can take the mail's
place. On 3.1 the sync runs without it.

A DAG that is paused, or that Airflow cannot read, has no runs and so misses none: the page tells of these, and the
metric `etl_sync.lag_seconds`.

Needs two connections of type *Postgres*, `shop_db` to read from and `warehouse` to load into, and one of type *SMTP*,
`smtp_default`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG

from airflow_etl_sync import IncrementalSyncOperator

try:
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference  # type: ignore[attr-defined]
except ImportError:  # before Airflow 3.2
    IN_TIME: dict[str, Any] = {}
else:
    MAIL = AsyncCallback(
        "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
        kwargs={
            "to": "on-call@example.com",
            "subject": "{{ dag_run.dag_id }} is late",
            "html_content": "The run {{ dag_run.dag_run_id }} was to be done by {{ deadline.deadline_time }}.",
        },
    )
    IN_TIME = {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_LOGICAL_DATE, interval=timedelta(minutes=30), callback=MAIL
        )
    }

with DAG(
    dag_id="users_in_time",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
    **IN_TIME,
):
    IncrementalSyncOperator(
        task_id="sync_users",
        sync_key="users_in_time",
        source_conn_id="shop_db",
        table="public.users",
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table="public.users_in_time",
    )
