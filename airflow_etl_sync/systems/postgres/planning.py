"""What the server expects of statements, without running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.base import PlannedRead
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.settings import pin_settings

if TYPE_CHECKING:
    import psycopg


def planned(
    connection: psycopg.Connection[Any], settings: Mapping[str, str], statements: Sequence[str]
) -> list[PlannedRead]:
    """Let the server plan statements in a transaction that may write nothing.

    :param settings: what is set in it, by name
    """
    with connection.transaction():
        connection.execute(sql.sessions.BEGIN_SNAPSHOT)
        pin_settings(connection, settings)
        return [PlannedRead(statement, _rows(connection, statement)) for statement in statements]


def _rows(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(sql.sessions.estimate(statement)).fetchone()
    [plan] = row[0] if row else [{}]
    return int(plan["Plan"]["Plan Rows"])
