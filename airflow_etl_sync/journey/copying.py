"""The first copy of tables whose changes are captured: what was there before the slot tells of changes.

A copy is a full sync in key order, each chunk committed with the position behind it, so a retry resumes. Writers go
on meanwhile: what they do after the slot's position comes again as changes, and a change that is older than the
copied row is followed by those that made the row what it is. Only at ``copied_until`` do table and log agree.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import Engine

from airflow_etl_sync.cdc.tables import CdcTable
from airflow_etl_sync.cdc.visibility import read_written, wait_until_visible
from airflow_etl_sync.core.model import Counts, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.errors import DestinationError, SourceError, explaining
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.state import cdc_pipelines, watermarks
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource

log = logging.getLogger(__name__)

CHUNK_ROWS = 250_000


def copy_tables(
    source: PostgresAccess,
    destination: PostgresAccess,
    sync_key: str,
    tables: Sequence[CdcTable],
    identity: RunIdentity,
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Counts:
    """Copy those tables of a pipeline that are not copied yet; the pipeline and its slot must be there.

    Killed and run again, the same task goes on behind the last chunk, and another begins that table anew.

    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; chunks that were committed stay
    """
    state = destination.engine()
    with explaining(DestinationError, "read the state of the change stream"), state.begin() as connection:
        status = {each.source: each.status for each in cdc_pipelines.tables_of(connection, sync_key)}
    counts = Counts()
    for table in tables:
        if status.get(str(table.source)) == "ready":
            continue
        wait_until_visible(source)
        key = copy_key(sync_key, table.source)
        stream = Stream(sync_key=key, cursor_field="xmin", table=table.source)
        report = sync(
            PostgresSource(source, stream),
            PostgresDestination(destination, table.target),
            stream=stream,
            window_rules=WindowRules(full_refresh=True),
            load_rules=table.rules,
            identity=identity,
            chunk_rows=chunk_rows,
        )
        with explaining(SourceError, "ask for the position of the log"), closing(source.connect()) as connection:
            until = read_written(connection)
        _close(state, sync_key, key, table, until)
        log.info("Copied %s into %s: %s", table.source, table.target, report.counts)
        counts += report.counts
    return counts


def copy_key(sync_key: str, table: TableName) -> str:
    """The name under which the copy of a table is recorded as a run."""
    return f"{sync_key} copies {table}"


def _close(state: Engine, sync_key: str, key: str, table: CdcTable, until: int) -> None:
    """Note that the table is copied; the copy itself is no sync that goes on, so it leaves no watermark."""
    with explaining(DestinationError, "note that a table is copied"), state.begin() as connection:
        watermarks.forget(connection, key)
        cdc_pipelines.mark_ready(connection, sync_key, str(table.source), until)
