"""A stream cut into ranges of its cursor, so that several workers can read it at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.settings import pin_settings
from airflow_etl_sync.systems.postgres.types import StreamColumn

if TYPE_CHECKING:
    import psycopg

_SAMPLED_ROWS = 100_000


def find_bounds(
    connection: psycopg.Connection[Any],
    settings: Mapping[str, str],
    stream: Stream,
    cursor: StreamColumn,
    window: Window,
    parts: int,
) -> list[str]:
    """The values at which a window is cut, about as many rows between each two; fewer where values repeat.

    Of a large table a sample is looked at.

    :param settings: what is set in the transaction, by name, the window's bounds among it
    """
    bounds = sql.reading.bounds_of(window)
    with connection.transaction():
        pin_settings(connection, settings)
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
