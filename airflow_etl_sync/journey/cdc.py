"""Changes from a source's log → the destination's tables, batch by batch, each exactly once."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.apply import Applier
from airflow_etl_sync.cdc.change_log import ChangeLog, LogHealth, RowsAgain
from airflow_etl_sync.cdc.fold import Fold
from airflow_etl_sync.cdc.history import Histories
from airflow_etl_sync.cdc.tables import CdcCounts, CdcTable, SourceTable
from airflow_etl_sync.cdc.wanted import Wanted
from airflow_etl_sync.core.changes import Lsn, lsn_text
from airflow_etl_sync.core.model import RunIdentity
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey import cdc_opening
from airflow_etl_sync.journey.cdc_batch import Batch
from airflow_etl_sync.journey.cdc_opening import FirstCopy
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits, Pieces
from airflow_etl_sync.state import cdc_pipelines, health, runs, tables
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

_NOTICED = "noticed"
"""In a pipeline's metadata: sentences that no report has told yet."""


@dataclass(frozen=True, slots=True)
class CdcReport:
    """What a capture did.

    :param batches: how many were committed
    :param applied: up to which position changes are in the destination
    :param lag_seconds: how old the oldest change was when the run began
    :param failed_records: how many of the stream are open
    :param warnings: what a person should look at
    """

    extraction_id: str
    counts: CdcCounts
    batches: int
    applied: Lsn
    health: LogHealth
    lag_seconds: float
    failed_records: int
    warnings: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            **self.counts.to_json(),
            "batches": self.batches,
            "applied_lsn": lsn_text(self.applied),
            **asdict(self.health),
            "lag_seconds": round(self.lag_seconds, 3),
            "failed_records": self.failed_records,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


def capture(
    changes: ChangeLog,
    rows: RowsAgain,
    destination: PostgresAccess,
    *,
    sync_key: str,
    tables_: Sequence[CdcTable],
    identity: RunIdentity,
    limits: CaptureLimits | None = None,
    first_copy: FirstCopy | None = None,
    resync: bool = False,
) -> CdcReport:
    """Apply what has happened at the source until now, and acknowledge it.

    Each batch is one transaction of the destination, which the changes and the position share; only then is the
    slot advanced. So whatever is killed, the next run finds either both or neither, and skips what the slot gives
    once more. It moves no watermark and overtakes no run.

    :param changes: where changes come from
    :param rows: gives what the log leaves out
    :param sync_key: the name of the change stream
    :param first_copy: copies the tables that are not copied yet; without it they count as copied
    :param resync: forget the position and which tables are copied, and begin where the slot stands
    :raises StateError: where the slot has gone on without this stream, so that changes are missing
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; batches that were committed stay
    """
    began = time.monotonic()
    cdc_opening.preflight(changes, tables_)
    found = changes.look_up(tables_)
    engine = destination.engine()
    tables.ensure(engine)
    run = cdc_opening.begin(destination, changes, sync_key, found, identity, resync=resync)
    cdc_opening.copy(engine, run, found, first_copy)
    started_at = datetime.now(timezone.utc)
    capturing = _Capturing(
        changes=changes,
        engine=engine,
        applier=Applier(destination, found, changes, rows, run, cdc_opening.read_records(engine, sync_key, found)),
        rows=rows,
        run=run,
        wanted=Wanted(found),
        limits=limits or CaptureLimits(),
    )
    until = changes.flushed()
    while not capturing.is_done:
        capturing.batch(until)
    warnings = _warnings(engine, sync_key, found, capturing)
    with explaining(DestinationError, "close the run"), engine.begin() as connection:
        runs.mark_captured(connection, run.extraction_id)
        open_records = health.count_open(connection, sync_key)
    seconds = time.monotonic() - began
    log.info("Captured %s up to %s: %s, %.1f s", sync_key, changes.text(capturing.applied), capturing.counts, seconds)
    return CdcReport(
        extraction_id=run.extraction_id,
        counts=capturing.counts,
        batches=capturing.batches,
        applied=capturing.applied,
        health=changes.health(),
        lag_seconds=max(0.0, (started_at - (capturing.oldest or started_at)).total_seconds()),
        failed_records=open_records,
        warnings=tuple(warnings),
        seconds=seconds,
    )


@dataclass(slots=True, kw_only=True)
class _Capturing:
    """One run's way through the log.

    :param applied: the position that was reached
    :param oldest: when the first transaction was committed, by the source's clock
    :param is_done: whether nothing is left before the position that the run goes for
    """

    changes: ChangeLog
    engine: Engine
    applier: Applier
    rows: RowsAgain
    run: Run
    wanted: Wanted
    limits: CaptureLimits
    counts: CdcCounts = field(default_factory=CdcCounts)
    batches: int = 0
    applied: Lsn = 0
    is_done: bool = False
    truncated: set[str] = field(default_factory=set)
    oldest: datetime | None = None

    def batch(self, until: Lsn) -> None:
        """Apply and acknowledge the next transactions, at least one and whole ones only."""
        with explaining(DestinationError, "apply a batch of changes"), self.engine.begin() as connection:
            pipeline = cdc_pipelines.locked(connection, self.run.sync_key)
            runs.refuse_abandoned(connection, self.run)
            pieces, batch = self._new_batch(connection, pipeline)
            with (
                _collecting_seldom(),
                pieces.applied_beside(),
                closing(self.changes.peek(until, self.limits.batch_changes, pipeline=pipeline)) as messages,
            ):
                batch.take(messages)
            cdc_opening.refuse_gap(self.changes, pipeline, self.changes.confirmed())
            self._note_reselected(connection)
            is_done = batch.messages < self.limits.batch_changes
            reached = max(pipeline.applied, batch.committed or 0, until if is_done else 0)
            cdc_pipelines.set_applied(connection, self.run.sync_key, reached, committed=batch.committed)
            self._remember(connection, pipeline)
            counts = pieces.counts + CdcCounts(transactions=batch.transactions)
            runs.record_captured(
                connection, self.run.extraction_id, counts.rows, changes=counts.changes, deleted=counts.deleted
            )
        self.changes.advance(reached)
        self.counts += counts
        self.applied, self.is_done = reached, is_done
        self.truncated |= pieces.truncated
        self.oldest = self.oldest or batch.oldest
        self.batches += 1
        log.info("Applied a batch up to %s: %s", self.changes.text(reached), counts)

    def _remember(self, connection: Connection, pipeline: Pipeline) -> None:
        """Keep what the log needs, and what a person is to be told, should this run not come to it."""
        metadata = {**pipeline.metadata, **self.changes.remembered()}
        if noticed := [*metadata.get(_NOTICED, ()), *self.changes.noticed]:
            metadata[_NOTICED] = list(dict.fromkeys(noticed))
        if metadata != pipeline.metadata:
            cdc_pipelines.set_metadata(connection, self.run.sync_key, metadata)

    def _new_batch(self, connection: Connection, pipeline: Pipeline) -> tuple[Pieces, Batch]:
        histories = Histories(self.wanted.histories)
        pieces = Pieces(
            applier=self.applier,
            connection=connection,
            limits=self.limits,
            new_fold=lambda: Fold(self.wanted.keys, histories),
            asked=self.rows.asked,
            being_copied=self._being_copied(connection, pipeline),
            are_related=self.applier.has_references(connection),
        )
        batch = Batch(
            pieces=pieces, wanted=self.wanted, rows=self.rows, applied=pipeline.committed, moment=histories.moment
        )
        return pieces, batch

    def _note_reselected(self, connection: Connection) -> None:
        for name, seen in self.rows.asked.items():
            cdc_pipelines.raise_copied_until(connection, self.run.sync_key, self.wanted.sources[name], seen)
        self.rows.asked.clear()

    def _being_copied(self, connection: Connection, pipeline: Pipeline) -> set[str]:
        """The tables in which rows may be newer than what is applied of their changes."""
        states = {
            each.source: each.copied_until or 0 for each in cdc_pipelines.tables_of(connection, pipeline.sync_key)
        }
        return {name for name, source in self.wanted.sources.items() if states[source] > pipeline.applied}


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Let Python look for cycles seldom: a piece is a great many objects, none of which is in one."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _warnings(engine: Engine, sync_key: str, found: Sequence[SourceTable], capturing: _Capturing) -> list[str]:
    """What was noticed, and partitions emptied by themselves, which a publication through their root does not tell."""
    with explaining(DestinationError, "write the state tables"), engine.begin() as connection:
        pipeline = cdc_pipelines.locked(connection, sync_key)
        before: dict[str, dict[str, str]] = pipeline.metadata.get("files", {})
        now = {table.name: dict(table.files) for table in found if table.files}
        noticed = pipeline.metadata.get(_NOTICED, [])
        kept = {name: value for name, value in pipeline.metadata.items() if name != _NOTICED}
        cdc_pipelines.set_metadata(connection, sync_key, {**kept, "files": now})
    warnings = [
        f"A partition of {name} was emptied or rewritten by itself. PostgreSQL does not tell TRUNCATE of a partition "
        f"where changes are published through its root: {_mending(name, capturing)}."
        for name, files in now.items()
        if name not in capturing.truncated
        and any(before.get(name, {}).get(leaf, file) != file for leaf, file in files.items())
    ]
    for warning in warnings:
        log.warning("%s", warning)
    return [*warnings, *noticed]


def _mending(name: str, capturing: _Capturing) -> str:
    return "its history lacks that" if name in capturing.wanted.histories else "reconcile the table with its copy"
