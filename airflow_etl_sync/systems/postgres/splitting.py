"""A stream cut into ranges of its cursor, so that several workers can read it at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.types import StreamColumn

if TYPE_CHECKING:
    import psycopg

_SAMPLED_ROWS = 100_000


def find_bounds(
    connection: psycopg.Connection[Any], stream: Stream, cursor: StreamColumn, window: Window, parts: int
) -> list[str]:
    """The values at which a window is cut, about as many rows between each two; fewer where values repeat.

    Of a large table a sample is looked at.
    """
    bounds = [name for name in ("low", "below") if getattr(window, name) is not None]
    with connection.transaction():
        for name, value in sql.sessions.PINNED_SETTINGS.items():
            connection.execute(sql.sessions.PIN_SETTING, {"name": name, "value": value})
        for name in bounds:
            pinned = {"name": sql.sessions.setting(name), "value": getattr(window, name).text}
            connection.execute(sql.sessions.PIN_SETTING, pinned)
        percent = _percent(connection, stream)
        statement = sql.splitting.find_bounds(stream, cursor.plain_type, bounds, percent, parts)
        return [text for (text,) in connection.execute(statement).fetchall()]


def _percent(connection: psycopg.Connection[Any], stream: Stream) -> float | None:
    if stream.table is None:
        return None
    relation = {"relation": sql.names.relation_name(stream.table)}
    row = connection.execute(sql.splitting.ESTIMATED_ROWS, relation).fetchone()
    rows = row[0] if row else 0
    return 100 * _SAMPLED_ROWS / rows if rows > _SAMPLED_ROWS else None
