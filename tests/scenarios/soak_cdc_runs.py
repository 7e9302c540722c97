"""The runs of the soak of captures: first copies and captures, resyncs after a slot was lost, and then reconciles."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import RunIdentity, TableName
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.journey.reconcile import reconcile
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.comparison import PostgresKeyDestination
from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
from tests.conftest import drop_slot
from tests.scenarios.soak_runs import Outcome, SoakError, Work
from tests.scenarios.streaming import AT_THE_END, COMMIT_FAILPOINTS, Capture
from tests.scenarios.world import scalar

LIMITS = (
    *(CaptureLimits(batch_changes=5), CaptureLimits(batch_changes=20, piece_changes=5)),
    *(CaptureLimits(batch_changes=60), CaptureLimits(batch_changes=200, piece_changes=30)),
    *(CaptureLimits(batch_changes=5_000, piece_changes=30), CaptureLimits(batch_changes=5_000, piece_bytes=200_000)),
    *[CaptureLimits()] * 8,
)
COPY_ROWS = (20, 60, 200)
AROUND_THE_COMMIT = tuple(point.rpartition(" ")[0] for point in COMMIT_FAILPOINTS.values() if point != AT_THE_END)
FAILPOINTS = (
    "after state.ledger:record_extracted",
    "after systems.postgres.destination:PostgresDestination.stage",
    "after systems.postgres.destination:PostgresDestination.merge",
    "before state.cdc_pipelines:mark_ready",
    "after cdc.postgres.slot:ReplicationSlot.flushed",
    "after cdc.fold:Fold.add",
    "after cdc.fold:Fold.add_rows",
    "after cdc.piece:TablePiece.delete",
    "before state.runs:mark_captured",
    *AROUND_THE_COMMIT * 3,
)
"""Those around the commit come three times as often as the others."""
CHILDREN_FIRST = ("child", "t")

APPLIED = "SELECT applied_lsn FROM etl_sync.cdc_pipeline"
IS_AHEAD = "SELECT confirmed_flush_lsn > %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
IS_COPIED = "SELECT count(*) = %s FROM etl_sync.cdc_table WHERE status = 'ready'"


@dataclass(frozen=True, slots=True)
class CaptureWork:
    """A capture, which copies what is not copied yet."""

    world: Capture
    is_resync: bool

    @property
    def kind(self) -> str:
        return "resync" if self.is_resync else "capture"

    def take(self, name: str, folder: Path, try_number: int) -> None:
        self.world.run_whole(name, resync=self.is_resync)


@dataclass(frozen=True, slots=True)
class ReconcileWork:
    """:param loss: how many slots had been lost when it was asked for"""

    world: Capture
    loss: int

    @property
    def kind(self) -> str:
        return "reconcile"

    def take(self, name: str, folder: Path, try_number: int) -> None:
        reconcile_all(self.world, name)


def reconcile_all(world: Capture, name: str) -> None:
    """Remove, or flag, what is gone from the source, however much it is."""
    for table in CHILDREN_FIRST:
        keys = KeyStream(sync_key="changes", table=TableName(table))
        reconcile(
            PostgresKeySource(PostgresAccess(world.source_db), keys),
            PostgresKeyDestination(PostgresAccess(world.warehouse_db), TableName(table)),
            sync_key="changes",
            rules=ReconcileRules(delete=world.delete, max_delete_percent=100),
            identity=RunIdentity("dag", f"reconcile {table}", name),
            block_rows=50,
        )


@dataclass(slots=True)
class CdcMaker:
    """
    :param loses: whether the slot is lost now and then, and streams are resynced without a need
    :param losses: how often the slot was lost
    :param is_reconciled: whether what was deleted while there was no slot is gone
    :param is_told_once: whether each change since the last quiet moment is to be applied exactly once: a resync
        applies again what the slot has
    :param copies_killed: tries that were killed before each table was copied
    """

    world: Capture
    loses: bool = False
    has_slot: bool = False
    losses: int = 0
    is_reconciled: bool = True
    is_told_once: bool = False
    copies_killed: int = 0
    failpoints: tuple[str, ...] = FAILPOINTS
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def new(self, chance: random.Random) -> Work:
        with self._one_at_a_time:
            return self._new(chance)

    def _new(self, chance: random.Random) -> Work:
        if not self.has_slot:
            self.world.set_up()
            self.has_slot = True
        if self.loses and chance.random() < 0.15:
            self._lose_the_slot()
        is_resync = self.is_lost() or (self.loses and chance.random() < 0.1)
        if is_resync:
            self._expect_resync()
        elif not self.is_reconciled and chance.random() < 0.2:
            return ReconcileWork(self.world, self.losses)
        world = self.world.but(limits=chance.choice(LIMITS), copy_chunk_rows=chance.choice(COPY_ROWS))
        return CaptureWork(world, is_resync)

    def is_lost(self) -> bool:
        """Whether the slot has gone on without the stream, which then must be resynced.

        :raises SoakError: where it has though nobody has made it anew, or begun a resync where it stood
        """
        with psycopg.connect(self.world.source_db) as source, psycopg.connect(self.world.warehouse_db) as warehouse:
            applied = warehouse.execute(APPLIED).fetchone()
            is_ahead = bool(applied and scalar(source, IS_AHEAD, applied[0], self.world.slot_name))
        if is_ahead and self.is_told_once:
            raise SoakError("The slot is ahead of what is applied: changes were acknowledged that are not there")
        return is_ahead

    def suits(self, work: Work) -> bool:
        is_of_now = isinstance(work, (CaptureWork, ReconcileWork)) and work.world.delete == self.world.delete
        if is_of_now and isinstance(work, CaptureWork) and work.is_resync:
            self._expect_resync()
        return is_of_now

    def ended(self, work: Work, how: Outcome) -> None:
        if isinstance(work, ReconcileWork):
            self.is_reconciled |= how == "done" and work.loss == self.losses
        elif how == "killed":
            with psycopg.connect(self.world.warehouse_db) as warehouse:
                self.copies_killed += not scalar(warehouse, IS_COPIED, len(self.world.tables))

    def reference(self, action: str) -> None:
        """Let children refer to their parents in the warehouse, too, or no more.

        Copied one after another beside writers, tables need not fit each other before changes are applied. For the
        same reason a row that is flagged as deleted may refer to one that the warehouse never had.

        :param action: ``CASCADE``, ``NO ACTION``, or nothing for no reference
        """
        with psycopg.connect(self.world.warehouse_db, autocommit=True) as warehouse:
            if scalar(warehouse, "SELECT to_regclass('child') IS NULL"):
                return
            warehouse.execute("ALTER TABLE child DROP CONSTRAINT IF EXISTS parent")
            if action:
                warehouse.execute(
                    "ALTER TABLE child ADD CONSTRAINT parent FOREIGN KEY (kind, t_id) REFERENCES t"
                    f" ON UPDATE {action} ON DELETE {action} NOT VALID"
                )

    def _expect_resync(self) -> None:
        self.is_told_once = False
        self.reference("")

    def _lose_the_slot(self) -> None:
        drop_slot(self.world.source_db, self.world.slot_name)
        self.world.set_up()
        self.losses += 1
        self.is_reconciled = self.is_told_once = False
