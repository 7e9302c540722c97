"""Where each sync stands: read, and moved only by comparing and setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.core.model import CursorValue
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state.tables import watermark


@dataclass(frozen=True, slots=True)
class Watermark:
    """Where a sync stands.

    :param cursor: the ``low`` of the next window; None before the first run
    :param version: grows with every change, so that a change in between is seen; 0 before the first
    :param fences: for integer and text cursors, the maxima that still wait for transactions to end
    """

    cursor: CursorValue | None = None
    version: int = 0
    fences: list[dict[str, Any]] = field(default_factory=list)


def read(connection: Connection, sync_key: str) -> Watermark:
    """The watermark of a sync; a sync that never ran has the empty one."""
    row = connection.execute(select(watermark).where(watermark.c.sync_key == sync_key)).one_or_none()
    if row is None:
        return Watermark()
    cursor = None if row.cursor_value is None else CursorValue(row.cursor_type, row.cursor_value)
    return Watermark(cursor, row.version, row.metadata.get("fences", []))


def compare_and_set(
    connection: Connection,
    sync_key: str,
    expected_version: int,
    cursor: CursorValue | None,
    fences: list[dict[str, Any]],
) -> None:
    """Move the watermark, unless somebody else moved it since it was read.

    :param expected_version: the version that was read when the run began
    :raises StateError: where the version is another one by now
    """
    values = {
        "cursor_value": cursor.text if cursor else None,
        "cursor_type": cursor.type if cursor else None,
        "last_sync": datetime.now(timezone.utc),
        "version": expected_version + 1,
        "metadata": {"fences": fences},
    }
    if not _is_set(connection, sync_key, expected_version, values):
        raise StateError(
            f"The watermark of {sync_key!r} was moved by another run or by a person since this run began, so this "
            "run does not touch it; its rows are loaded. Clear the extract task to run again from the new watermark."
        )


def _is_set(connection: Connection, sync_key: str, expected_version: int, values: dict[str, Any]) -> bool:
    if expected_version > 0:
        same = (watermark.c.sync_key == sync_key) & (watermark.c.version == expected_version)
        return connection.execute(update(watermark).where(same).values(**values)).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(insert(watermark).values(sync_key=sync_key, **values))
    except IntegrityError:
        return False
    return True
