"""How a capture begins: its run and its stream are recorded, and what is not copied yet is copied."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_etl_sync.cdc import history_sql
from airflow_etl_sync.cdc.appending import Record, another_log
from airflow_etl_sync.cdc.change_log import ChangeLog
from airflow_etl_sync.cdc.history_target import HistoryTarget
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.changes import Lsn, lsn_of, lsn_text
from airflow_etl_sync.core.history import just_before
from airflow_etl_sync.core.model import RunIdentity, Window
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state import cdc_histories, cdc_pipelines, runs
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

_APPLIED_BEFORE = "applied_before"
"""In a pipeline's metadata: up to where changes were applied before a resync, which the slot may still be told."""

FirstCopy = Callable[[Sequence[SourceTable], Run], None]
"""Copies tables that are not ready, as :mod:`airflow_etl_sync.state.cdc_pipelines` tells, and marks them ready, unless
a newer run than the one given has begun."""


def preflight(changes: ChangeLog, tables_: Sequence[CdcTable]) -> None:
    """Refuse what would lose changes, before anything is read; the rest is worth a warning."""
    findings = changes.preflight([table.source for table in tables_])
    for finding in findings:
        if finding.is_error:
            raise finding.as_error()
        log.warning("%s", finding)


def begin(
    destination: PostgresAccess,
    changes: ChangeLog,
    sync_key: str,
    found: Sequence[SourceTable],
    identity: RunIdentity,
    *,
    resync: bool,
) -> Run:
    """Record the run, and the pipeline if it is new; what killed runs have staged may then be swept.

    :raises StateError: where changes are missing, or a history's positions are not those of this source
    """
    name, confirmed, flushed = changes.name, changes.confirmed(), changes.flushed()
    pairs = [(str(table.terms.source), str(table.terms.target)) for table in found]
    with explaining(DestinationError, "write the state tables"), destination.engine().begin() as connection:
        remembered: dict[str, str] = {}
        if resync:
            remembered = _forget(connection, name, flushed, sync_key)
            confirmed = changes.confirmed()
        publication = ",".join(changes.publications)
        beginning = changes.beginning(confirmed, flushed)
        pipeline = cdc_pipelines.get_or_create(connection, sync_key, name, publication, beginning)
        if not pipeline.metadata and (known := {**changes.remembered(), **remembered}):
            cdc_pipelines.set_metadata(connection, sync_key, known)
        refuse_gap(changes, pipeline, confirmed)
        cdc_pipelines.register(connection, sync_key, pairs)
        _begin_histories(connection, destination, pipeline, found, flushed)
        runs.abandon_captures(connection, sync_key)
        return runs.start(
            connection,
            identity,
            sync_key=sync_key,
            kind="cdc",
            window=Window(protection=f"the log {name}, from {changes.text(pipeline.applied)}"),
        )


def refuse_gap(changes: ChangeLog, pipeline: Pipeline, confirmed: Lsn) -> None:
    """Refuse to go on where changes are missing: a log may reach behind what is applied, never begin ahead of it.

    A slot that is made anew begins behind all that is in the log by then, so behind all that has been read by then.
    Asked between the reading of changes and the commit that applies them, this sees whether it still is the slot that
    what is applied came from; one that is made anew later is ahead of that commit, too, and is seen the next time.

    :param confirmed: the position before which the log gives nothing any more
    :raises StateError: where it is ahead
    """
    if confirmed > max(pipeline.applied, lsn_of(pipeline.metadata.get(_APPLIED_BEFORE, "0/0"))):
        raise changes.lost(pipeline, confirmed)


def _forget(connection: Connection, name: str, flushed: Lsn, sync_key: str) -> dict[str, str]:
    """Forget a stream, but for the position up to which a slow run may still acknowledge what it has applied."""
    former = cdc_pipelines.get(connection, sync_key, lock=True)
    cdc_pipelines.forget(connection, sync_key)
    if former is None or former.slot != name or former.applied > flushed:
        return {}
    return {_APPLIED_BEFORE: lsn_text(former.applied)}


def copy(engine: Engine, run: Run, found: Sequence[SourceTable], first_copy: FirstCopy | None) -> None:
    """Have the tables copied that are not; their changes have been kept since the slot was made."""
    sync_key = run.sync_key
    with explaining(DestinationError, "read the state tables"), engine.begin() as connection:
        ready = {each.source for each in cdc_pipelines.tables_of(connection, sync_key) if each.status == "ready"}
        missing = [table for table in found if str(table.terms.source) not in ready]
        if first_copy is None:
            for table in missing:
                cdc_pipelines.mark_ready(connection, sync_key, str(table.terms.source), None)
    if missing and first_copy is not None:
        first_copy(missing, run)


def read_records(engine: Engine, sync_key: str, found: Sequence[SourceTable]) -> Mapping[str, Record]:
    """From where on each history holds every change, by the table's name in the log."""
    histories = {str(table.terms.source): table.name for table in found if table.terms.is_history}
    with explaining(DestinationError, "read the state tables"), engine.begin() as connection:
        states = cdc_histories.histories_of(cdc_pipelines.locked(connection, sync_key))
        return {
            histories[each.source]: Record(states[each.source].since, each.copied_until or 0)
            for each in cdc_pipelines.tables_of(connection, sync_key)
            if each.source in histories
        }


def _begin_histories(
    connection: Connection,
    destination: PostgresAccess,
    pipeline: Pipeline,
    found: Sequence[SourceTable],
    flushed: Lsn,
) -> None:
    """Begin histories where the stream stands; those that are there already are told that changes may be missing."""
    driver = driver_of(connection)
    tables = {str(table.terms.source): table.terms for table in found if table.terms.is_history}
    for source in cdc_histories.begin(connection, pipeline, tables):
        terms = tables[source]
        target = HistoryTarget(destination, terms.target, terms.key)
        if not target.columns(driver):
            continue
        if target.newest(driver) > flushed:
            raise another_log(str(terms.target))
        driver.execute(history_sql.mark_resync(terms.target, just_before(pipeline.applied)))
