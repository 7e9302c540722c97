"""The first copy of tables whose changes are captured: what was there before the slot tells of changes.

A copy is a full sync in key order, each chunk committed with the position behind it, so a retry resumes. Writers go
on meanwhile: what they do after the slot's position comes again as changes, and a change that is older than the
copied row is followed by those that made the row what it is. Only at ``copied_until`` do table and log agree.

In a history the copied rows stand behind every change that they are sure to have seen and before every other. What was
written while the copy went on may be in a copied row and then come as a change, so the last row of each key is right,
and no change is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Engine

from airflow_etl_sync.cdc.change_log import CopySource
from airflow_etl_sync.cdc.history_target import CopyPlace, HistoryCopy, HistoryTarget
from airflow_etl_sync.cdc.tables import CdcTable
from airflow_etl_sync.core.changes import lsn_text
from airflow_etl_sync.core.history import just_before
from airflow_etl_sync.core.model import Counts, RunIdentity, TableName, WindowRules
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.state import cdc_histories, cdc_pipelines, runs, watermarks
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination

log = logging.getLogger(__name__)

CHUNK_ROWS = 250_000


def copy_tables(
    source: CopySource,
    destination: PostgresAccess,
    sync_key: str,
    tables: Sequence[CdcTable],
    identity: RunIdentity,
    run: Run,
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Counts:
    """Copy those tables of a pipeline that are not copied yet; the pipeline and its slot must be there.

    Killed and run again, the same task goes on behind the last chunk, and another begins that table anew. So does the
    same task where the pipeline stands elsewhere by now: what was copied is older than what is still to be told.

    :param source: gives the tables whole
    :param run: the capture for which they are copied
    :raises StateError: where a newer capture has begun: it copies what is not ready, and this one must not say that
        it is
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; chunks that were committed stay
    """
    state = destination.engine()
    with explaining(DestinationError, "read the state of the change stream"), state.begin() as connection:
        applied = lsn_text(cdc_pipelines.applied(connection, sync_key))
        status = {each.source: each.status for each in cdc_pipelines.tables_of(connection, sync_key)}
    counts = Counts()
    for table in tables:
        if status.get(str(table.source)) == "ready":
            continue
        place = _place(source, state, sync_key, table) if table.is_history else None
        source.wait_until_visible()
        key = copy_key(sync_key, table.source)
        rows, stream = source.table(key, table)
        report = sync(
            rows,
            _target(destination, table, place),
            stream=stream,
            window_rules=WindowRules(full_refresh=True),
            load_rules=table.landing_rules,
            identity=identity,
            chunk_rows=chunk_rows,
            resumable_at=applied,
        )
        until, _ = source.written()
        _close(state, run, key, table, until)
        log.info("Copied %s into %s: %s", table.source, table.target, report.counts)
        counts += report.counts
    return counts


def copy_key(sync_key: str, table: TableName) -> str:
    """The name under which the copy of a table is recorded as a run."""
    return f"{sync_key} copies {table}"


def _place(source: CopySource, state: Engine, sync_key: str, table: CdcTable) -> CopyPlace:
    """Give the rows of a history's copy their position, before the wait for what stands before it to be visible."""
    written, read_at = source.written()
    with explaining(DestinationError, "note where a copy begins"), state.begin() as noting:
        kept = cdc_histories.begin_copy(noting, sync_key, str(table.source), just_before(written), read_at)
    return CopyPlace(kept.copied_at or 0, kept.read_at or "")


def _target(destination: PostgresAccess, table: CdcTable, place: CopyPlace | None) -> Destination:
    if place is None:
        return PostgresDestination(destination, table.target)
    return HistoryCopy(HistoryTarget(destination, table.target, table.key), place)


def _close(state: Engine, run: Run, key: str, table: CdcTable, until: int) -> None:
    """Note that the table is copied; the copy itself is no sync that goes on, so it leaves no watermark."""
    with explaining(DestinationError, "note that a table is copied"), state.begin() as connection:
        cdc_pipelines.locked(connection, run.sync_key)
        runs.refuse_abandoned(connection, run)
        watermarks.forget(connection, key)
        runs.abandon_overtaken(connection, key)
        cdc_pipelines.mark_ready(connection, run.sync_key, str(table.source), until)
