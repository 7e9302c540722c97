"""A table's history: every change of it as a row of its own, in the order in which the changes were committed."""

from __future__ import annotations

from typing import Literal

from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.core.columns import ColumnTypes

ApplyMode = Literal["upsert", "history"]
"""What becomes of changes: the target is kept equal to the source, or each change is appended to it."""

Operation = Literal["snapshot", "insert", "update", "delete", "truncate", "resync"]
"""``snapshot`` is a row of the first copy; ``resync`` says that changes before it may be missing."""

OP, LSN, SEQUENCE = "_sync_op", "_sync_lsn", "_sync_sequence"
COMMITTED_AT, UNKNOWN = "_sync_committed_at", "_sync_unknown"

HISTORY_COLUMNS = {
    OP: ColumnTypes("text", "text"),
    LSN: ColumnTypes("pg_lsn", "pg_lsn"),
    SEQUENCE: ColumnTypes("bigint", "bigint"),
    COMMITTED_AT: ColumnTypes("timestamp with time zone", "timestamp with time zone"),
    UNKNOWN: ColumnTypes("text[]", "text[]"),
}
"""The columns that a history has beside the source's; the names are reserved.

``_sync_lsn`` is where the transaction's commit stands in the source's log and ``_sync_sequence`` the change's place
in the transaction: together they name a row and put all in order. ``_sync_unknown`` names the columns whose values
neither the log nor an earlier row tells, which are NULL then.
"""

HISTORY_KEY = (LSN, SEQUENCE)


def just_before(position: Lsn) -> Lsn:
    """A position that stands before every commit from this one on, and that no commit can have.

    Records of the log begin at multiples of 8, so an odd position is none of them.
    """
    return (position - 1) | 1
