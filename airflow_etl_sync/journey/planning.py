"""What a run would do, without doing it: nothing is read, and nothing is written, not even a state table."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from airflow_etl_sync.core.model import Stream, Window, WindowRules
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state import tables, watermarks
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import PlannedRead, PlanningSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next run would read.

    :param reads: its statements; their rows are the source's estimate
    """

    sync_key: str
    window: Window
    reads: tuple[PlannedRead, ...]

    @property
    def estimated_rows(self) -> int:
        return sum(read.rows for read in self.reads)

    def to_json(self) -> dict[str, Any]:
        return {
            "dry_run": True,
            "sync_key": self.sync_key,
            "window": asdict(self.window),
            "statements": [read.statement for read in self.reads],
            "estimated_rows": self.estimated_rows,
        }


def plan(source: PlanningSource, state: Engine, *, stream: Stream, rules: WindowRules) -> Plan:
    """Look at the stream, choose the window and ask the source what reading it would take.

    :raises EtlSyncError: what a run would be refused for before it reads
    """
    source.describe()
    opened = source.open_window(stored_watermark(state, stream.sync_key), rules)
    found = Plan(stream.sync_key, opened.window, tuple(source.plan(opened.window)))
    low, high = found.window.low, found.window.high
    log.info(
        "Dry run of %s: from %s, next from %s, about %d rows",
        stream.sync_key,
        low.text if low else "the beginning",
        high.text if high else "the same",
        found.estimated_rows,
    )
    for read in found.reads:
        log.info("About %d rows by:\n%s", read.rows, read.statement)
    return found


def stored_watermark(state: Engine, sync_key: str) -> Watermark:
    """The watermark of a sync, also where there are no state tables yet."""
    if not tables.are_there(state):
        return Watermark()
    with explaining(DestinationError, "read the state tables"), state.connect() as connection:
        return watermarks.read(connection, sync_key)
