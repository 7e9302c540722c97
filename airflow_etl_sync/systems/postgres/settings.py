"""Settings of a transaction, under which the text of a value means the same in every session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.postgres import sql

if TYPE_CHECKING:
    import psycopg


def pin_settings(
    connection: psycopg.Connection[Any], settings: Mapping[str, str] = sql.sessions.PINNED_SETTINGS
) -> None:
    """Set what holds in this transaction, by name."""
    for name, value in settings.items():
        connection.execute(sql.sessions.PIN_SETTING, {"name": name, "value": value})
