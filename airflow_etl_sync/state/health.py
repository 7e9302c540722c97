"""How a sync is, once a run of it is done: how far behind, and with how many rows that could not be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Text, case, cast, extract, func, literal, select
from sqlalchemy.dialects.postgresql import TIMESTAMP

from airflow_etl_sync.core.model import CursorValue
from airflow_etl_sync.state.failed_records import open_of
from airflow_etl_sync.state.tables import failed_record


@dataclass(frozen=True, slots=True)
class Health:
    """How a sync is.

    :param lag_seconds: how far its watermark lies behind the destination's clock, never below 0; None unless the
        watermark is a moment (``timestamptz``), since other cursors do not tell when a row changed
    :param failed_records: how many are open
    """

    lag_seconds: float | None
    failed_records: int

    def to_json(self) -> dict[str, Any]:
        lag = self.lag_seconds
        return {"lag_seconds": None if lag is None else round(lag, 3), "failed_records": self.failed_records}


def read(connection: Connection, sync_key: str, watermark: CursorValue | None) -> Health:
    """How a sync with that watermark is."""
    return Health(_lag_seconds(connection, watermark), count_open(connection, sync_key))


def count_open(connection: Connection, sync_key: str) -> int:
    """How many failed records of a sync are open."""
    open_records = select(func.count()).select_from(failed_record).where(open_of(sync_key))
    return int(connection.scalar(open_records) or 0)


def _lag_seconds(connection: Connection, watermark: CursorValue | None) -> float | None:
    if watermark is None or watermark.type != "timestamptz":
        return None
    moment = cast(literal(watermark.text, Text()), TIMESTAMP(timezone=True))
    seconds = extract("epoch", func.clock_timestamp() - moment)
    lag = connection.scalar(select(case((func.isfinite(moment), seconds))))
    return None if lag is None else max(0.0, float(lag))
