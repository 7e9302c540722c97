"""The soak of change data capture: first copies, captures, resyncs, of tables that refer to each other."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios import soak_table
from tests.scenarios.soak_audit import Audit
from tests.scenarios.soak_cdc_deeds import IDS, SHAPES, WHOLE_TABLE, CdcDeeds, Habits, widen
from tests.scenarios.soak_cdc_runs import CdcMaker, reconcile_all
from tests.scenarios.soak_runs import Runs, SoakError
from tests.scenarios.soak_table import Compared, Key
from tests.scenarios.soak_writers import Writers
from tests.scenarios.soaking import Soak
from tests.scenarios.streaming import Capture
from tests.scenarios.world import scalar

KEYS = {"t": ("kind", "id"), "child": ("id",)}
LONGEST_RUN_SECONDS = 5.0
PATIENCE_SECONDS = 30

BACKWARDS = """
CREATE TABLE backwards (before text, after text);
CREATE FUNCTION look_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.applied_lsn::pg_lsn < OLD.applied_lsn::pg_lsn OR NEW.committed_lsn::pg_lsn < OLD.committed_lsn::pg_lsn THEN
        INSERT INTO public.backwards
        VALUES (OLD.applied_lsn || ' ' || OLD.committed_lsn, NEW.applied_lsn || ' ' || NEW.committed_lsn);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER look_back AFTER UPDATE ON etl_sync.cdc_pipeline FOR EACH ROW EXECUTE FUNCTION look_back()
"""
"""A resync makes a new row; apart from that a position only grows."""

CHANGES = "SELECT coalesce(sum(rows_extracted), 0) FROM etl_sync.sync_run WHERE kind = 'cdc'"
AUDITED = """
SELECT count(*)
FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)
WHERE chr(get_byte(data, 0)) IN ('I', 'U', 'D', 'T')
"""
LAST_RUNS = """
SELECT concat_ws(' | ', run_id, kind, sync_key, status, is_resumed, is_overtaken, protection,
    started_at, finished_at, rows_extracted, inserted, updated, skipped, deleted)
FROM etl_sync.sync_run ORDER BY started_at DESC LIMIT 40
"""
STATE = """
SELECT concat_ws(' | ', 'state', applied_lsn, committed_lsn, source_table, status, copied_until)
FROM etl_sync.cdc_pipeline JOIN etl_sync.cdc_table USING (sync_key)
"""


@dataclass(slots=True, kw_only=True)
class CdcSoak(Soak):
    """
    :param slot_name: of the slot whose changes are captured
    :param audit_name: of another one, which counts them
    """

    runs_a_round: tuple[int, int] = (2, 6)
    slot_name: str = "soak"
    audit_name: str = "soak_audit"
    maker: CdcMaker = field(init=False)
    habits: Habits = field(default_factory=Habits)
    changes: int = 0
    audit: Audit = field(default_factory=Audit)
    _changes_before: int | None = None

    def __post_init__(self) -> None:
        world = Capture(self.source_db, self.warehouse_db, self.slot_name, self.root, tables=("child", "t"))
        self.maker = CdcMaker(world)
        self.runs = Runs(self.maker, self.root / "runs", self.seed, LONGEST_RUN_SECONDS, doomed=2)
        self.writers = Writers(
            self.source_db, self.seed, lambda connection, chance: CdcDeeds(connection, chance, self.habits), count=4
        )

    def __str__(self) -> str:
        return (
            f"{self.runs.tally}; {self.maker.copies_killed} killed before all was copied, {self.maker.losses} slots "
            f"lost; {self.writers.transactions} transactions, {self.changes} changes audited"
        )

    def prepare(self) -> None:
        with psycopg.connect(self.source_db) as source:
            source.execute(SHAPES)
            source.execute(
                "INSERT INTO t (kind, id, words, big) SELECT kind, id, 'there before', repeat(md5(random()::text), 100)"
                " FROM unnest(%s::text[]) AS kind, generate_series(0, %s) AS id",
                [list(soak_table.KINDS), IDS - 1],
            )
            source.execute(
                "INSERT INTO child SELECT id, kind, id, 'there before', decode(repeat('00ff', 1500), 'hex') FROM t"
                " WHERE kind = 'a' AND id < 80"
            )
        tables.ensure(PostgresAccess(self.warehouse_db).engine())
        with psycopg.connect(self.warehouse_db) as warehouse:
            warehouse.execute(soak_table.TYPES)
            warehouse.execute(BACKWARDS)

    def vary(self, chance: random.Random) -> None:
        self.habits.truncates = chance.random() < 0.4
        self.habits.alters = chance.random() < 0.5
        self.habits.identifies = chance.random() < 0.4
        self.maker.loses = self.rounds > 1 and chance.random() < 0.4
        self.maker.reference(chance.choice(["", "CASCADE", "NO ACTION", "NO ACTION"]))
        delete = chance.choice(["hard", "soft"])
        if delete != self.maker.world.delete:
            self.maker.world = self.maker.world.but(delete=delete)
            self._bury()

    def _bury(self) -> None:
        """Remove the rows that are flagged, which captures that delete leave alone."""
        with psycopg.connect(self.warehouse_db) as warehouse:
            for name in self._has_flags(warehouse):
                warehouse.execute(f"DELETE FROM {name} WHERE {SOFT_DELETED}")
        self.audit.forget()

    def settle(self) -> None:
        with psycopg.connect(self.source_db, autocommit=True) as source:
            widen(source)
            flushed = scalar(source, "SELECT pg_current_wal_flush_lsn() - '0/0'")
        self._undisturbed(resync=self.maker.is_lost())
        if not self.maker.is_reconciled:
            reconcile_all(self.maker.world, f"quiet {self.rounds}")
            self.maker.is_reconciled = True
        self._refuse_standing_still(flushed)

    def _undisturbed(self, *, resync: bool = False) -> None:
        """A run in whose way nobody is but the sessions of those that were killed, for as long as they last."""
        chance = random.Random(f"{self.seed} quiet {self.rounds}")
        limits = CaptureLimits(batch_changes=chance.choice([300, 500_000]), piece_changes=chance.choice([30, 50_000]))
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.maker.world.but(limits=limits).run_whole(f"quiet {self.rounds}", resync=resync)
                return
            except EtlSyncError as error:
                if not error.is_retryable or time.monotonic() > patient_until:
                    told = [f"A run that nobody disturbed failed: {error!r}", *self.last_runs()]
                    raise SoakError("\n".join(told)) from None
                time.sleep(0.2)

    def _refuse_standing_still(self, flushed: int) -> None:
        with psycopg.connect(self.source_db) as source, psycopg.connect(self.warehouse_db) as warehouse:
            confirmed = scalar(
                source,
                "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s",
                self.slot_name,
            )
            applied = scalar(warehouse, "SELECT applied_lsn::pg_lsn - '0/0' FROM etl_sync.cdc_pipeline")
        if not flushed <= confirmed == applied:
            raise SoakError(f"The slot stands at {confirmed}, applied is {applied}, and {flushed} was to be reached")

    def compare(self) -> None:
        with (
            psycopg.connect(self.source_db, autocommit=True) as source,
            psycopg.connect(self.warehouse_db, autocommit=True) as warehouse,
        ):
            for table in self._compared(warehouse):
                self.refuse_differences(table.name, table.differences(source, warehouse))
                is_soft = self.maker.world.delete == "soft"
                self.audit.refuse_vanished(warehouse, table.name, table.key, is_soft=is_soft)
            wrong = self._sums(source, warehouse) | self.audit.leftovers(warehouse)
            if wrong:
                raise SoakError("\n".join([f"What does not add up: {wrong}, {self}", *self.last_runs()]))

    def _compared(self, warehouse: psycopg.Connection) -> list[Compared]:
        """The tables; rows that are flagged as deleted count as gone."""
        flags = self._has_flags(warehouse)
        own = {name: (frozenset({SOFT_DELETED}), f"{SOFT_DELETED} IS NOT TRUE") for name in flags}
        return [Compared(name, key, *own.get(name, ())) for name, key in KEYS.items()]

    def _has_flags(self, warehouse: psycopg.Connection) -> list[str]:
        rows = warehouse.execute(
            "SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = %s AND attrelid IN"
            " (to_regclass('t'), to_regclass('child'))",
            [SOFT_DELETED],
        )
        return [row[0] for row in rows]

    def _sums(self, source: psycopg.Connection, warehouse: psycopg.Connection) -> dict[str, Any]:
        """What is told and has not been; from one quiet moment to the next."""
        wrong = self.audit.written(warehouse)
        in_log, changes = self._audit(source), scalar(warehouse, CHANGES)
        if self._changes_before is not None and self.maker.is_told_once:
            self.changes += in_log
            if changes - self._changes_before != in_log:
                wrong["changes in the log, changes told"] = in_log, changes - self._changes_before
        self._changes_before, self.maker.is_told_once = changes, True
        return wrong

    def _audit(self, source: psycopg.Connection) -> int:
        """How many changes the other slot has, which then has none; a new one begins."""
        if not source.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [self.audit_name]).rowcount:
            source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.audit_name])
        return int(scalar(source, AUDITED, self.audit_name, self.slot_name))

    def last_runs(self) -> Iterable[str]:
        with psycopg.connect(self.warehouse_db) as warehouse:
            return [row[0] for query in (STATE, LAST_RUNS) for row in warehouse.execute(query)]

    def keys_of(self, name: str, key: Key) -> list[Key]:
        return [(name, *key), WHOLE_TABLE]
