"""Syncs of which Airflow's notifiers tell, as any provider's would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseNotifier

from airflow_etl_sync import IncrementalSyncOperator, incremental_sync


class Note(BaseNotifier):
    """Adds a line to a file."""

    template_fields = ("path", "text")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.path, self.text = "{{ dag_run.conf.notes }}", text

    def notify(self, context: Any) -> None:
        with Path(self.path).open("a") as notes:
            notes.write(f"{context['ti'].task_id}: {self.text}\n")


def note_anew(context: Any) -> None:
    """Note what came of a task; a notifier fills its templates only once, and here one process runs many tasks."""
    Note("{{ etl_sync | default('nothing') }}")(context)


SYNC: dict[str, Any] = {
    "source_conn_id": "shop_db", "destination_conn_id": "warehouse", "sync_key": "notified", "table": "public.orders",
    "cursor_field": "updated_at", "destination_table": "public.notified",
}  # fmt: skip
FACTS = "{{ etl_sync.counts.inserted }} new, {{ etl_sync.failed_records }} failed, {{ etl_sync.watermark.type }}"

with DAG("notified_in_one_task", schedule=None):
    IncrementalSyncOperator(
        task_id="sync", **SYNC, on_success_callback=[Note("{{ etl_sync }}"), Note(FACTS)],
        on_failure_callback=Note("{{ etl_sync | default('no outcome') }}"),
    )  # fmt: skip

with DAG("notified_chain", schedule=None, default_args={"on_success_callback": note_anew}):
    incremental_sync(group_id="notified", **SYNC)
