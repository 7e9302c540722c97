"""Where each sync stands: read, moved by runs only by comparing and setting, and by people under a lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep
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
    return Watermark() if row is None else _watermark(row)


@dataclass(frozen=True, slots=True)
class Standing:
    """A sync, where it stands, and when its last run ended (or, before the first, when somebody set it)."""

    sync_key: str
    watermark: Watermark
    last_sync: datetime

    def to_json(self) -> dict[str, Any]:
        cursor = self.watermark.cursor
        return {
            "sync_key": self.sync_key,
            "value": cursor.text if cursor else None,
            "cursor_type": cursor.type if cursor else None,
            "version": self.watermark.version,
            "waiting_maxima": sum("value" in fence for fence in self.watermark.fences),
            "last_sync": self.last_sync.isoformat(),
        }


def standings(connection: Connection, sync_keys: Collection[str] | None = None) -> list[Standing]:
    """Where all syncs stand, by name, or those that are named."""
    wanted = select(watermark).order_by(watermark.c.sync_key)
    if sync_keys is not None:
        wanted = wanted.where(watermark.c.sync_key.in_(sync_keys))
    return [Standing(row.sync_key, _watermark(row), row.last_sync) for row in connection.execute(wanted)]


def lock(connection: Connection, sync_key: str) -> Watermark | None:
    """The watermark of a sync, which until the transaction ends nobody else can move; None where there is none."""
    row = connection.execute(select(watermark).where(watermark.c.sync_key == sync_key).with_for_update()).one_or_none()
    return None if row is None else _watermark(row)


def create(connection: Connection, sync_key: str) -> None:
    """Make sure that there is a row to lock; an empty one where there was none."""
    values = {"last_sync": datetime.now(timezone.utc), "version": 0, "metadata": {"fences": []}}
    connection.execute(insert_or_keep(watermark).values(sync_key=sync_key, **values).on_conflict_do_nothing())


def force(connection: Connection, sync_key: str, cursor: CursorValue | None) -> None:
    """Move a locked watermark, whichever way; runs that have begun before will find its version changed.

    The fences go: their maxima may lie above the new value, and above all that the source will hold from now on
    (one that was restored, or whose ids start again), and the next watermark must not leap there. Nothing is lost
    with them, since the next run reads from the new value on and makes fences of its own.
    """
    connection.execute(
        update(watermark)
        .where(watermark.c.sync_key == sync_key)
        .values(
            cursor_value=cursor.text if cursor else None,
            cursor_type=cursor.type if cursor else None,
            version=watermark.c.version + 1,
            metadata={"fences": []},
        )
    )


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


def _watermark(row: Row[Any]) -> Watermark:
    cursor = None if row.cursor_value is None else CursorValue(row.cursor_type, row.cursor_value)
    return Watermark(cursor, row.version, row.metadata.get("fences", []))


def forget(connection: Connection, sync_key: str) -> None:
    """Drop the watermark of something that does not go on."""
    connection.execute(delete(watermark).where(watermark.c.sync_key == sync_key))
