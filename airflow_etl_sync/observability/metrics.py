"""A run in Airflow's own metrics: StatsD, Datadog or OpenTelemetry, whichever this Airflow sends them to."""

from __future__ import annotations

import re
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_etl_sync.observability.outcome import Outcome

_LONGEST_TAG = 100
"""StatsD's metrics have at most 250 characters, name and tags together, or Airflow does not send them."""


def emit(outcome: Outcome) -> None:
    """Send what a run came to, tagged with its sync.

    Counters ``etl_sync.rows.processed``, ``inserted``, ``updated``, ``skipped``, ``errors`` and ``deleted``; a timing
    ``etl_sync.duration``; gauges ``etl_sync.lag_seconds`` and ``etl_sync.failed_records``. What is not
    known is left out.
    """
    stats, tags = _stats(), _tags(outcome.sync_key)
    for name, count in _rows(outcome).items():
        stats.incr(f"etl_sync.rows.{name}", count, tags=tags)
    stats.timing("etl_sync.duration", timedelta(seconds=outcome.seconds), tags=tags)
    for name in ("lag_seconds", "failed_records"):
        value = getattr(outcome, name)
        if value is not None:
            stats.gauge(f"etl_sync.{name}", value, tags=tags)


def emit_load(sync_key: str, seconds: float) -> None:
    """Send how long one load of a chain took, as the timing ``etl_sync.load.duration``."""
    _stats().timing("etl_sync.load.duration", timedelta(seconds=seconds), tags=_tags(sync_key))


def _rows(outcome: Outcome) -> dict[str, int]:
    rows = {} if outcome.counts is None else outcome.counts.to_json()
    return rows if outcome.deleted is None else {**rows, "deleted": outcome.deleted}


def _tags(sync_key: str) -> dict[str, str]:
    return {"sync_key": tag_of(sync_key)}


def tag_of(sync_key: str) -> str:
    """The key as every backend takes it; one that had to be changed ends in a digest, so that no two become one."""
    written = re.sub(r"[^a-zA-Z0-9_./-]", "_", sync_key)[:_LONGEST_TAG]
    return written if written == sync_key else f"{written}_{sha256(sync_key.encode()).hexdigest()[:8]}"


def _stats() -> Any:
    from airflow.providers.common.compat.sdk import Stats

    return Stats
