"""Changes from a replication slot → the destination's tables, batch by batch, each exactly once."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.apply import Applier, StagedFold
from airflow_etl_sync.cdc.fold import Fold
from airflow_etl_sync.cdc.history import Histories
from airflow_etl_sync.cdc.pgoutput import Decoder, transactions
from airflow_etl_sync.cdc.reselect import SourceRows, look_up
from airflow_etl_sync.cdc.reshaped import together
from airflow_etl_sync.cdc.slot import ReplicationSlot, SlotHealth
from airflow_etl_sync.cdc.tables import CdcCounts, CdcTable, SourceTable
from airflow_etl_sync.cdc.wanted import Wanted
from airflow_etl_sync.core.changes import Begin, Change, Commit, Lsn, Relation, Truncate, lsn_text
from airflow_etl_sync.core.model import RunIdentity
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey import cdc_opening
from airflow_etl_sync.journey.cdc_opening import FirstCopy
from airflow_etl_sync.state import cdc_pipelines, runs, tables
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """How much is taken at once.

    :param batch_changes: after so many changes a batch ends, with the transaction in which it is reached
    :param piece_changes: so many changes are held and merged together, within a batch or a long transaction
    :param piece_bytes: or so many bytes of them
    """

    batch_changes: int = 500_000
    piece_changes: int = 50_000
    piece_bytes: int = 12_000_000


@dataclass(frozen=True, slots=True)
class CdcReport:
    """What a capture did.

    :param batches: how many were committed
    :param applied: up to which position changes are in the destination
    :param lag_seconds: how old the oldest change was when the run began
    :param warnings: what a person should look at
    """

    extraction_id: str
    counts: CdcCounts
    batches: int
    applied: Lsn
    health: SlotHealth
    lag_seconds: float
    warnings: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            **self.counts.to_json(),
            "batches": self.batches,
            "applied_lsn": lsn_text(self.applied),
            **asdict(self.health),
            "lag_seconds": round(self.lag_seconds, 3),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


def capture(
    slot: ReplicationSlot,
    source: PostgresAccess,
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

    :param sync_key: the name of the change stream
    :param first_copy: copies the tables that are not copied yet; without it they count as copied
    :param resync: forget the position and which tables are copied, and begin where the slot stands
    :raises StateError: where the slot has gone on without this stream, so that changes are missing
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; batches that were committed stay
    """
    began = time.monotonic()
    cdc_opening.preflight(slot, tables_)
    found = look_up(source, tables_)
    engine = destination.engine()
    tables.ensure(engine)
    run = cdc_opening.begin(destination, slot, sync_key, found, identity, resync=resync)
    cdc_opening.copy(engine, run, found, first_copy)
    rows = SourceRows(source)
    started_at = datetime.now(timezone.utc)
    capturing = _Capturing(
        slot=slot,
        engine=engine,
        applier=Applier(destination, found, slot, rows, run, cdc_opening.read_records(engine, sync_key, found)),
        rows=rows,
        run=run,
        wanted=Wanted(found),
        limits=limits or CaptureLimits(),
    )
    until = slot.flushed()
    while not capturing.is_done:
        capturing.batch(until)
    warnings = _watch_partitions(engine, sync_key, found, capturing)
    with explaining(DestinationError, "close the run"), engine.begin() as connection:
        runs.mark_captured(connection, run.extraction_id)
    seconds = time.monotonic() - began
    log.info("Captured %s up to %s: %s, %.1f s", sync_key, lsn_text(capturing.applied), capturing.counts, seconds)
    return CdcReport(
        extraction_id=run.extraction_id,
        counts=capturing.counts,
        batches=capturing.batches,
        applied=capturing.applied,
        health=slot.health(),
        lag_seconds=max(0.0, (started_at - (capturing.oldest or started_at)).total_seconds()),
        warnings=tuple(warnings),
        seconds=seconds,
    )


@dataclass(slots=True, kw_only=True)
class _Capturing:
    """One run's way through the slot.

    :param applied: the position that was reached
    :param oldest: when the first transaction was committed, by the source's clock
    :param is_done: whether nothing is left before the position that the run goes for
    """

    slot: ReplicationSlot
    engine: Engine
    applier: Applier
    rows: SourceRows
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
            with (
                _collecting_seldom(),
                ThreadPoolExecutor(1) as staging,
                ThreadPoolExecutor(1) as applying,
                closing(self.slot.peek(until, self.limits.batch_changes)) as messages,
            ):
                batch = _Batch(self, connection, self._being_copied(connection, pipeline), staging, applying)
                batch.take(messages, pipeline.committed)
            cdc_opening.refuse_gap(pipeline, self.slot.confirmed())
            self._note_reselected(connection)
            is_done = batch.messages < self.limits.batch_changes
            reached = max(pipeline.applied, batch.committed or 0, until if is_done else 0)
            cdc_pipelines.set_applied(connection, self.run.sync_key, reached, committed=batch.committed)
            counts = batch.counts
            runs.record_captured(
                connection, self.run.extraction_id, counts.rows, changes=counts.changes, deleted=counts.deleted
            )
        self.slot.advance(reached)
        self.counts += counts
        self.applied, self.is_done = reached, is_done
        self.batches += 1
        log.info("Applied a batch up to %s: %s", lsn_text(reached), counts)

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


@dataclass(slots=True)
class _Batch:
    """Transactions on their way into one transaction of the destination.

    While one piece is applied, by a thread to which the connection belongs meanwhile, the next is staged, and the one
    behind it decoded and folded. A piece may end within a transaction, as between what a statement did to parents and
    what foreign keys then did to their children. Where targets reference each other, such a piece is tried, and grows
    if it does not hold: where a table changes its shape then, what was folded so far is held.

    :param committed: where the last one's commit ends
    """

    capturing: _Capturing
    connection: Connection
    being_copied: set[str]
    staging: ThreadPoolExecutor
    applying: ThreadPoolExecutor
    committed: Lsn | None = None
    counts: CdcCounts = field(default_factory=CdcCounts)
    _histories: Histories = field(init=False)
    _decoder: Decoder = field(default_factory=Decoder)
    _fold: Fold = field(init=False)
    _fold_begins: int = 0
    _fold_whole: int = 0
    _held: list[Fold] = field(default_factory=list)
    _patience: int = 1
    _are_related: bool | None = None
    _fitting: dict[int, Relation] = field(default_factory=dict)
    _transactions: int = 0
    _staged: Future[StagedFold] | None = None
    _applied: list[Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._histories = Histories(self.capturing.wanted.histories)
        self._fold = self._new_fold()

    @property
    def messages(self) -> int:
        """How many the slot has given."""
        return self._decoder.decoded

    def take(self, messages: Iterable[tuple[Lsn, bytes]], committed: Lsn) -> None:
        """Fold and apply what comes, but for transactions that begin with a commit before the last one applied.

        A transaction's commit lies before where another's ends if and only if it ends there or before, so whether
        it is applied already is known before its changes come.
        """
        is_new, wanted, moment = False, self.capturing.wanted, self._histories.moment
        for item in transactions(messages, self._decoder):
            if isinstance(item, Begin):
                is_new = item.final_lsn >= committed
                if is_new:
                    self._begin(item)
            elif not is_new:
                continue
            elif isinstance(item, Commit):
                self.committed = item.end_lsn
                self._transactions += 1
                if self._patience > 1:
                    self._apply()
            else:
                moment.sequence += 1
                if (change := wanted.of(item)) is not None:
                    self._add(change)
        self._apply()
        self._wait(left=0)
        self.counts += CdcCounts(transactions=self._transactions)

    def _begin(self, begin: Begin) -> None:
        self._fold_whole = self._fold.changes
        self._histories.moment.begin(begin)
        self.capturing.rows.met(begin.xid)
        if self.capturing.oldest is None:
            self.capturing.oldest = begin.committed_at

    def _add(self, change: Change) -> None:
        if isinstance(change, Truncate) or id(change.relation) not in self._fitting:
            if not self._fold.fits(change):
                self._end_shape()
            if not isinstance(change, Truncate):
                self._fitting[id(change.relation)] = change.relation
        self._fold.add(change)
        limits, patience = self.capturing.limits, self._patience
        folded_bytes = self._decoder.decoded_bytes - self._fold_begins
        if self._fold.changes >= limits.piece_changes * patience or folded_bytes >= limits.piece_bytes * patience:
            self._end_piece()

    def _end_piece(self) -> None:
        """Apply what may be a part of a transaction, or let it grow where it breaks foreign keys without the rest."""
        if not self._has_references():
            self._apply()
            return
        self._wait(left=0)
        counts = self.capturing.applier.try_to_apply(self.connection, self._whole(), reselect=self.being_copied)
        if counts is None:
            self._patience *= 2
        else:
            self._take_fold()
            self._note(counts)

    def _end_shape(self) -> None:
        """Apply what came before a table changed its shape, or hold it until its transaction is whole."""
        if not self._held and self._fold.changes == self._fold_whole:
            self._apply()
            return
        self._end_piece()
        if self._fold.changes:
            self._held.append(self._fold)
            self._fold = self._new_fold()
            self._fitting.clear()

    def _whole(self) -> Fold:
        return together([*self._held, self._fold]) if self._held else self._fold

    def _has_references(self) -> bool:
        if self._are_related is None:
            self._wait(left=0)
            self._are_related = self.capturing.applier.has_references(self.connection)
        return self._are_related

    def _apply(self) -> None:
        fold = self._take_fold()
        if not fold.changes:
            return
        # the rows of two pieces are held at most: one that is staged holds none, unless they are not whole
        holds_rows = self._staged is not None and self._staged.result().holds_rows
        self._wait(left=0 if holds_rows else 1)
        self._staged = self.staging.submit(self.capturing.applier.stage, fold)
        self._applied.append(self.applying.submit(self._apply_staged, self._staged))
        if fold.histories:
            self._wait(left=0)  # of a history every change is held, and not the last of each key only

    def _take_fold(self) -> Fold:
        """What is folded; a new fold begins."""
        fold, self._fold, self._patience = self._whole(), self._new_fold(), 1
        self._held.clear()
        self._fold_begins, self._fold_whole = self._decoder.decoded_bytes, 0
        self._fitting.clear()
        self.capturing.truncated |= fold.truncated
        return fold

    def _apply_staged(self, staged: Future[StagedFold]) -> None:
        self._note(self.capturing.applier.apply(self.connection, staged.result(), reselect=self.being_copied))

    def _note(self, counts: CdcCounts) -> None:
        self.counts += counts
        self.being_copied |= self.capturing.rows.asked.keys()

    def _wait(self, *, left: int) -> None:
        """Wait until no more pieces than so many are on their way."""
        while len(self._applied) > left:
            self._applied.pop(0).result()
        if not self._applied:
            self._staged = None  # with what rows it holds

    def _new_fold(self) -> Fold:
        return Fold(self.capturing.wanted.keys, self._histories)


def _watch_partitions(engine: Engine, sync_key: str, found: Sequence[SourceTable], capturing: _Capturing) -> list[str]:
    """Notice partitions that were emptied by themselves, which a publication through their root does not tell."""
    with explaining(DestinationError, "write the state tables"), engine.begin() as connection:
        pipeline = cdc_pipelines.locked(connection, sync_key)
        before: dict[str, dict[str, str]] = pipeline.metadata.get("files", {})
        now = {table.name: dict(table.files) for table in found if table.files}
        cdc_pipelines.set_metadata(connection, sync_key, {**pipeline.metadata, "files": now})
    warnings = [
        f"A partition of {name} was emptied or rewritten by itself. PostgreSQL does not tell TRUNCATE of a partition "
        f"where changes are published through its root: {_mending(name, capturing)}."
        for name, files in now.items()
        if name not in capturing.truncated
        and any(before.get(name, {}).get(leaf, file) != file for leaf, file in files.items())
    ]
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def _mending(name: str, capturing: _Capturing) -> str:
    return "its history lacks that" if name in capturing.wanted.histories else "reconcile the table with its copy"
