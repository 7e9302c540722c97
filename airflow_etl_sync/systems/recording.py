"""What a merge leaves in the state tables beside its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.state import failed_records, schema_changes
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Merged

if TYPE_CHECKING:
    from sqlalchemy import Connection


def record_merged(connection: Connection, run: Run, target: str, rules: LoadRules, merged: Merged) -> None:
    """Note the records that failed and those that are settled, and what became of columns, in the merge's transaction.

    :param rules: by which a failed record is to be loaded again
    """
    failed_records.record(connection, run, target, rules, merged.failed)
    failed_records.settle(connection, run, target, merged.settled)
    schema_changes.record(connection, run.extraction_id, merged.changes)
