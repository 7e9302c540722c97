"""What a merge came to, as JSON that a destination keeps beside the rows until the ledger has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.failed_record import FailedRecord
from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.systems.base import Landed, Merged, Position


def to_json(merged: Merged, position: Position | None) -> dict[str, Any]:
    """JSON of everything that a later try must enter into the ledger."""
    counts = merged.counts
    return {
        "counts": [counts.inserted, counts.updated, counts.skipped, counts.errors],
        "failed": [_record(record) for record in merged.failed],
        "changes": [asdict(change) for change in merged.changes],
        "settled": [list(key) for key in merged.settled],
        "position": None if position is None else dict(position),
    }


def from_json(kept: Mapping[str, Any]) -> Landed:
    """What :func:`to_json` was given."""
    merged = Merged(
        Counts(*kept["counts"]),
        tuple(_failed(record) for record in kept["failed"]),
        tuple(SchemaChange(**change) for change in kept["changes"]),
        tuple(tuple(key) for key in kept["settled"]),
    )
    return Landed(merged, kept["position"])


def _record(record: FailedRecord) -> dict[str, Any]:
    return {
        "key": list(record.key),
        "payload": record.payload,
        "types": {name: list(types) for name, types in record.types.items()},
        "error": record.error,
        "sqlstate": record.sqlstate,
    }


def _failed(kept: Mapping[str, Any]) -> FailedRecord:
    return FailedRecord(
        key=tuple(kept["key"]),
        payload=kept["payload"],
        types={name: ColumnTypes(*types) for name, types in kept["types"].items()},
        error=kept["error"],
        sqlstate=kept["sqlstate"],
    )
