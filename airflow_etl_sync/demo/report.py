"""What the runs of a sync did, read from the state tables and shown side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import class_row
from rich.table import Table

if TYPE_CHECKING:
    from airflow_etl_sync.demo.changes import Changes

READ_RUNS = """
SELECT
    low,
    high,
    protection,
    rows_extracted,
    inserted,
    updated,
    skipped,
    errors,
    extract(epoch FROM finished_at - started_at)::float AS seconds
FROM etl_sync.sync_run
WHERE run_id = %s
ORDER BY started_at
"""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as ``etl_sync.sync_run`` tells it."""

    low: str | None
    high: str | None
    protection: str
    rows_extracted: int
    inserted: int
    updated: int
    skipped: int
    errors: int
    seconds: float | None

    def surprises(self, expected: Changes) -> list[str]:
        """Name the counts that are not what the shop's changes ask for."""
        pairs = {
            "inserted": (self.inserted, len(expected.inserted)),
            "updated": (self.updated, len(expected.updated)),
            "errors": (self.errors, 0),
        }
        return [f"{name} {is_:,} instead of {due:,}" for name, (is_, due) in pairs.items() if is_ != due]


def read_run(warehouse: str, run_id: str) -> RunRecord:
    """Return the record of a DAG run's only extraction.

    :raises LookupError: when there is none, or more than one.
    """
    with psycopg.connect(warehouse) as connection, connection.cursor(row_factory=class_row(RunRecord)) as cursor:
        records = cursor.execute(READ_RUNS, (run_id,)).fetchall()
    if len(records) != 1:
        raise LookupError(f"etl_sync.sync_run has {len(records)} rows of the run {run_id}: there should be one.")
    return records[0]


def table_of(first: RunRecord, second: RunRecord) -> Table:
    """Return the two runs side by side."""
    table = Table(title="What the two runs moved", title_justify="left")
    table.add_column("")
    table.add_column("first load", justify="right")
    table.add_column("second run", justify="right")
    table.add_row("window from", first.low or "the beginning", second.low or "the beginning")
    table.add_row("next one from", first.high or "-", second.high or "-")
    for name in ("rows_extracted", "inserted", "updated", "skipped", "errors"):
        table.add_row(name.replace("_", " "), f"{getattr(first, name):,}", f"{getattr(second, name):,}")
    table.add_row("seconds", _seconds(first), _seconds(second))
    return table


def _seconds(record: RunRecord) -> str:
    return "-" if record.seconds is None else f"{record.seconds:.1f}"
