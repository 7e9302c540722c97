"""Functions whose records are upserted, with arguments in templates, and one that fails in its first try."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

COUNT = 10


DEFAULTS: dict[str, Any] = {
    "retries": 1,
    "retry_delay": timedelta(0),
}
ARGUMENTS: dict[str, Any] = {
    "destination_conn_id": "warehouse",
    "destination_table": "public.records",
    "state_conn_id": None,
    "sync_key": "records",
    "primary_key": "id",
    "cursor_field": None,
    "columns": None,
    "column_types": None,
    "lag": "0",
    "full_refresh": "false",
    "conflict": None,
    "conflict_field": None,
    "create_table": "true",
    "synced_at_column": None,
    "schema_contract": None,
    "max_errors": None,
    "max_error_percent": None,
    "chunk_rows": "3",
}
TEMPLATES: dict[str, Any] = {name: "{{ params." + name + " }}" for name in ARGUMENTS}
PLACE: dict[str, Any] = {"destination_conn_id": "warehouse", "destination_table": "public.records", "primary_key": "id"}

with DAG("templated_records", schedule=None, params=ARGUMENTS | {"first": 0}, default_args=DEFAULTS):

    @task.etl_sync(**TEMPLATES)  # type: ignore[untyped-decorator]
    def give(first: Any, watermark: Any = None, run_id: Any = None) -> Iterator[dict[str, Any]]:
        """Tell what the function was handed, and give records."""
        start = int(first) if watermark is None else watermark
        for number in range(start, COUNT):
            yield {"id": number, "at": number, "told": [str(watermark), bool(run_id)]}

    give("{{ params.first }}")

with DAG("breaking_records", schedule=None, default_args=DEFAULTS):

    @task.etl_sync(**PLACE, cursor_field="at", chunk_rows=3)
    def break_off(ti: Any = None) -> Iterator[dict[str, Any]]:
        """Break off in the middle of the first try."""
        for number in range(COUNT):
            if ti.try_number == 1 and number == 7:
                raise ConnectionResetError("the API broke off")
            yield {"id": number, "at": number}

    break_off()

with DAG("mapped_records", schedule=None, default_args=DEFAULTS):

    @task.etl_sync(**PLACE)  # type: ignore[untyped-decorator]
    def give_one(number: int) -> dict[str, Any]:
        """Give one record."""
        return {"id": number}

    give_one.expand(number=[1, 2])

    @task.etl_sync(**PLACE, sync_key="part {{ ti.map_index }}")
    def give_another(number: int) -> dict[str, Any]:
        """Give one record, as a sync of its own."""
        return {"id": number}

    give_another.expand(number=[3, 4])
