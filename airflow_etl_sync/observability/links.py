"""From a task to its sync's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink

from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

_PAGE = "/etl_sync/sync"


class SyncLink(BaseOperatorLink):
    """The button *ETL Sync* of a task, which opens the page of its sync."""

    name = "ETL Sync"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The page's address, asked for when the task has run; empty where the sync is not known by then."""
        from airflow.providers.common.compat.sdk import conf

        conn_id = _text(operator, "state_conn_id") or _text(operator, "destination_conn_id")
        sync_key = _text(operator, "sync_key") or _key_in(getattr(operator, "extraction", None))
        if not sync_key and getattr(operator, "custom_operator_name", None) == "@task.etl_sync":
            sync_key = f"{ti_key.dag_id}.{ti_key.task_id}"
        if not conn_id or not sync_key:
            return ""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}{_PAGE}?{urlencode({'conn_id': conn_id, 'sync_key': sync_key})}"


def _text(operator: Any, name: str) -> str:
    value = getattr(operator, name, None)
    return value.strip() if isinstance(value, str) and not arguments.is_absent(value) else ""


def _key_in(extraction: Any) -> str:
    part = extraction[0] if isinstance(extraction, list | tuple) and extraction else extraction
    return str(part.get("sync_key", "")) if isinstance(part, dict) else ""
