"""What a run of change data capture did, as its task returned it and the state tables tell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import psycopg
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_etl_sync.demo.changes import TradingDay

READ_COPIED = """
SELECT coalesce(sum(inserted), 0)
FROM etl_sync.sync_run
WHERE run_id = %s
    AND kind <> 'cdc'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One run.

    :param copied: rows that were there before the slot was made
    :param changes: how many changes were read from the log
    :param lag_seconds: how old the oldest of them was
    :param retained_bytes: how much of its log the source kept for the slot at the end
    :param lag_bytes: how much of that was written since the position that is applied
    """

    copied: int
    changes: int
    inserted: int
    updated: int
    skipped: int
    deleted: int
    truncated: int
    errors: int
    transactions: int
    lag_seconds: float
    retained_bytes: int
    lag_bytes: int
    wal_status: str
    seconds: float

    def surprises(self, expected: TradingDay, *, copied: int) -> list[str]:
        """Name the counts that are not what the shop's changes ask for.

        :param copied: how many rows there were to copy
        """
        pairs = {
            "copied": (self.copied, copied),
            "inserted": (self.inserted, expected.count("inserted")),
            "updated": (self.updated, expected.count("updated")),
            "deleted": (self.deleted, expected.count("deleted")),
            "truncated": (self.truncated, expected.truncated),
            "errors": (self.errors, 0),
        }
        return [f"{name} {is_:,} instead of {due:,}" for name, (is_, due) in pairs.items() if is_ != due]


def read_captured(warehouse: str, run_id: str, returned: Mapping[str, Any]) -> Captured:
    """Return what a run did.

    :param warehouse: conninfo
    :param returned: what the capturing task returned
    :raises LookupError: where that lacks something
    """
    with psycopg.connect(warehouse) as connection:
        [copied] = connection.execute(READ_COPIED, (run_id,)).fetchone() or (0,)
    return Captured(
        copied=int(copied),
        **{each.name: returned[each.name] for each in fields(Captured) if each.name != "copied"},
    )


def table_of(first: Captured, second: Captured) -> Table:
    """Return the two runs side by side."""
    table = Table(title="What change data capture moved", title_justify="left")
    table.add_column("")
    table.add_column("first run", justify="right")
    table.add_column("second run", justify="right")
    counts = ("copied", "transactions", "changes", "inserted", "updated", "skipped", "deleted", "truncated", "errors")
    for name in counts:
        table.add_row(name, f"{getattr(first, name):,}", f"{getattr(second, name):,}")
    table.add_row("oldest change", f"{first.lag_seconds:.1f} s", f"{second.lag_seconds:.1f} s")
    table.add_row("log kept for the slot", _size(first.retained_bytes), _size(second.retained_bytes))
    table.add_row("of it not read yet", _size(first.lag_bytes), _size(second.lag_bytes))
    table.add_row("slot", first.wal_status, second.wal_status)
    table.add_row("seconds", f"{first.seconds:.1f}", f"{second.seconds:.1f}")
    return table


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"
