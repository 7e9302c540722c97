"""The record of what people did to watermarks: what, who and why."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from airflow_etl_sync.core.model import CursorValue
from airflow_etl_sync.core.watermark_change import Action, Signature, WatermarkChange
from airflow_etl_sync.state.tables import watermark_change


def record(
    connection: Connection,
    sync_key: str,
    action: Action,
    old: CursorValue | None,
    new: CursorValue | None,
    signature: Signature,
) -> WatermarkChange:
    """Write down a change, in the transaction that makes it."""
    change = WatermarkChange(
        sync_key=sync_key,
        action=action,
        old=old,
        new=new,
        changed_by=signature.by,
        reason=signature.reason,
        changed_at=datetime.now(timezone.utc),
    )
    values = {**change.to_json(), "changed_at": change.changed_at, "request": signature.request}
    connection.execute(insert(watermark_change).values(**values))
    return change


def find(connection: Connection, sync_key: str, request: str | None) -> WatermarkChange | None:
    """The change that a run of a task has made already, in an earlier try; None where it has made none."""
    if request is None:
        return None
    of_request = (watermark_change.c.sync_key == sync_key) & (watermark_change.c.request == request)
    row = connection.execute(select(watermark_change).where(of_request)).one_or_none()
    return None if row is None else _change(row)


def latest(connection: Connection, sync_key: str, at_most: int) -> list[WatermarkChange]:
    """The last changes of a sync's watermark, the newest first."""
    rows = connection.execute(
        select(watermark_change)
        .where(watermark_change.c.sync_key == sync_key)
        .order_by(watermark_change.c.id.desc())
        .limit(at_most)
    )
    return [_change(row) for row in rows]


def _change(row: Row[Any]) -> WatermarkChange:
    return WatermarkChange(
        sync_key=row.sync_key,
        action=row.action,
        old=_cursor(row.old_type, row.old_value),
        new=_cursor(row.new_type, row.new_value),
        changed_by=row.changed_by,
        reason=row.reason,
        changed_at=row.changed_at,
    )


def _cursor(type_: Any, text: str | None) -> CursorValue | None:
    return None if text is None else CursorValue(type_, text)
