"""What a merge came to, as JSON that a destination keeps beside the rows until the ledger has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.failed_record import as_json
from airflow_etl_sync.core.failed_record import from_json as from_record
from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.systems.base import Landed, Mark, Merged, Position

WEEK = 7 * 86_400 * 1_000_000
"""So long, in the microseconds of a turn, is remembered what nobody overtakes."""


def newer_has_landed(mark: Mark, target: str) -> StateError:
    """What is said to a run that was overtaken."""
    return StateError(
        f"A newer run of {mark.sync_key!r} has loaded {target}, so this one may not load older rows over its rows. "
        "Clear the extract task to run again, one run at a time (max_active_runs=1)."
    )


def has_landed(mark: Mark) -> StateError:
    """What is said to a try that merges a chunk which another has merged by now."""
    return StateError(
        f"Chunk {mark.number} of {mark.sync_key!r} has been loaded by another try meanwhile.", is_retryable=True
    )


def to_json(merged: Merged, position: Position | None) -> dict[str, Any]:
    """JSON of everything that a later try must enter into the ledger."""
    counts = merged.counts
    return {
        "counts": [counts.inserted, counts.updated, counts.skipped, counts.errors],
        "failed": [as_json(record) for record in merged.failed],
        "changes": [asdict(change) for change in merged.changes],
        "settled": [list(key) for key in merged.settled],
        "position": None if position is None else dict(position),
    }


def from_json(kept: Mapping[str, Any]) -> Landed:
    """What :func:`to_json` was given."""
    merged = Merged(
        Counts(*kept["counts"]),
        tuple(from_record(record) for record in kept["failed"]),
        tuple(SchemaChange(**change) for change in kept["changes"]),
        tuple(tuple(key) for key in kept["settled"]),
    )
    return Landed(merged, kept["position"])
