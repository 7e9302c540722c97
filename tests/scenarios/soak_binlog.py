"""The soak of binary logs: first copies and captures of tables of MariaDB, whose server is restarted and killed too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from airflow_etl_sync.core.keys import SOFT_DELETED, DeleteMode
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.binlog import LoggingServer
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture
from tests.scenarios.soak_audit import Audit
from tests.scenarios.soak_binlog_deeds import (
    IDS,
    KINDS,
    SHAPES,
    WHOLE_TABLE,
    BinlogHabits,
    BinlogWriters,
)  # fmt: skip
from tests.scenarios.soak_cdc import (
    BACKWARDS,
    CHANGES,
    KEYS,
    LAST_RUNS,
    LONGEST_RUN_SECONDS,
    PATIENCE_SECONDS,
    STATE,
)  # fmt: skip
from tests.scenarios.soak_cdc_runs import COPY_ROWS, FAILPOINTS, IS_COPIED, LIMITS
from tests.scenarios.soak_runs import Outcome, Runs, SoakError, Work
from tests.scenarios.soak_table import Difference, Key
from tests.scenarios.soaking import Soak
from tests.scenarios.world import scalar

FAILPOINTS_HERE = tuple(
    point.replace("cdc.postgres.slot:ReplicationSlot", "cdc.binlog.log:BinaryLog") for point in FAILPOINTS
)
WHILE_COPYING = (*FAILPOINTS_HERE[:4], "after state.cdc_pipelines:mark_ready")
AS_TEXT = frozenset({"doc", "uuid"})
DATABASE = "soak"
COLUMNS = "SELECT column_name FROM information_schema.columns \
WHERE table_schema = database() AND table_name = '{}' ORDER BY ordinal_position"
RESTART_WITHIN_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class BinlogWork:
    """A capture, which copies what is not copied yet."""

    world: BinlogCapture

    @property
    def kind(self) -> str:
        return "capture"

    def take(self, name: str, folder: Path, try_number: int) -> None:
        self.world.run(name)


@dataclass(slots=True)
class BinlogMaker:
    """
    :param copies_killed: tries that were killed before each table was copied
    :param is_copying: whether no run of the stream has been done yet
    """

    world: BinlogCapture
    copies_killed: int = 0
    is_copying: bool = True

    @property
    def failpoints(self) -> tuple[str, ...]:
        return WHILE_COPYING if self.is_copying else FAILPOINTS_HERE

    def new(self, chance: random.Random) -> Work:
        return BinlogWork(self.world.but(limits=chance.choice(LIMITS), copy_chunk_rows=chance.choice(COPY_ROWS)))

    def suits(self, work: Work) -> bool:
        return isinstance(work, BinlogWork) and work.world.sync_key == self.world.sync_key

    def ended(self, work: Work, how: Outcome) -> None:
        self.is_copying &= how != "done"
        if how == "killed":
            with psycopg.connect(self.world.warehouse_db) as warehouse:
                self.copies_killed += not scalar(warehouse, IS_COPIED, len(self.world.tables))


@dataclass(slots=True, kw_only=True)
class BinlogSoak(Soak):
    """
    :param server: of MariaDB
    :param is_told_once: whether the tables have counted each change of this round
    """

    server: LoggingServer
    runs_a_round: tuple[int, int] = (2, 6)
    source_db: str = ""
    maker: BinlogMaker = field(init=False)
    habits: BinlogHabits = field(default_factory=BinlogHabits)
    shop: MariaDb = field(init=False)
    changes: int = 0
    copies: int = 0
    restarts: int = 0
    is_told_once: bool = False
    _restarting: threading.Thread | None = None
    audit: Audit = field(default_factory=Audit)
    _changes_before: tuple[int, int] | None = None
    _position: int = 0

    def __post_init__(self) -> None:
        usual = self.server.database
        self.shop = MariaDb(usual.host, usual.port, usual.login, usual.password, DATABASE)
        world = BinlogCapture(self.shop, self.warehouse_db, self.root, tables=("child", "t"))
        self.maker = BinlogMaker(world)
        self.runs = Runs(self.maker, self.root / "runs", self.seed, LONGEST_RUN_SECONDS, doomed=2)
        self.writers = BinlogWriters(
            "", self.seed, _no_deeds, count=4, shop=self.shop, habits=self.habits
        )  # fmt: skip

    def __str__(self) -> str:
        files = len(self.shop.execute("SHOW BINARY LOGS"))
        return (
            f"{self.runs.tally}; {self.copies} first copies, {self.maker.copies_killed} tries killed before all was "
            f"copied, {self.restarts} restarts of MariaDB, {files} files of its log; {self.writers.transactions} "
            f"transactions, {self.changes} changes audited"
        )

    def prepare(self) -> None:
        self.server.database.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        self.shop.execute(*SHAPES)
        for kind in KINDS:
            literal = kind.replace("'", "''")
            self.shop.execute(
                f"INSERT INTO t (kind, id, words) SELECT '{literal}', seq, 'there before' FROM seq_0_to_{IDS - 1}"
            )
        self.shop.execute("INSERT INTO child SELECT id, kind, id, 0, x'00ff' FROM t WHERE kind = 'a' AND id < 80")
        tables.ensure(PostgresAccess(self.warehouse_db).engine())
        with psycopg.connect(self.warehouse_db) as warehouse:
            warehouse.execute(BACKWARDS)

    def clear_up(self) -> None:
        """Let no table be there any more."""
        self.server.database.execute(f"DROP DATABASE IF EXISTS {DATABASE}")

    # -- a round ------------------------------------------------------------------------------------------

    def vary(self, chance: random.Random) -> None:
        self.habits.truncates = chance.random() < 0.3
        self.habits.alters = chance.random() < 0.5
        self.habits.rotates = chance.random() < 0.8
        self.is_told_once = not self.habits.truncates
        if chance.random() < 0.4:
            self._begin_anew(chance.choice(["hard", "soft"]))
        if chance.random() < 0.3:
            how, after = chance.choice(["stop", "kill", "kill"]), chance.uniform(0, RESTART_WITHIN_SECONDS)
            self._restarting = threading.Thread(target=self._restart, args=(how, after))
            self._restarting.start()

    def _begin_anew(self, delete: DeleteMode) -> None:
        """Let another stream copy the tables, into a warehouse that has none."""
        self.copies += 1
        self.maker.is_copying = True
        self.runs.doomed = self.runs.tally.kills + self.copies % 3  # so many tries of it are killed
        self.maker.world = self.maker.world.but(sync_key=f"changes {self.copies}", delete=delete)
        with psycopg.connect(self.warehouse_db) as warehouse:
            warehouse.execute("DROP TABLE IF EXISTS t, child")
            warehouse.execute("DELETE FROM etl_sync.cdc_table")
            warehouse.execute("DELETE FROM etl_sync.cdc_pipeline")
        self.audit.forget()
        self._changes_before = None

    def _restart(self, how: str, after: float) -> None:
        time.sleep(after)
        getattr(self.server, how)()
        self.server.start()
        self.restarts += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In the end nobody restarts the server any more, so that it can be stopped."""
        try:
            yield
        finally:
            self._await_restart()

    def _await_restart(self) -> None:
        if self._restarting:
            self._restarting.join()
            self._restarting = None

    # -- a quiet moment -----------------------------------------------------------------------------------

    def settle(self) -> None:
        self._await_restart()
        self._touch_with_all_columns()
        self._position = self.maker.world.log.flushed()
        self._undisturbed()
        with psycopg.connect(self.warehouse_db) as warehouse:
            applied = scalar(warehouse, "SELECT applied_lsn::pg_lsn - '0/0' FROM etl_sync.cdc_pipeline")
        if applied < self._position:
            raise SoakError(f"Applied is {applied}, and {self._position} was to be reached")

    def _touch_with_all_columns(self) -> None:
        """A column of which no change has told since it came is not known to the warehouse."""
        self.shop.execute(
            "INSERT INTO t (kind, id) VALUES ('quiet', 0) ON DUPLICATE KEY UPDATE c = c + 1", "FLUSH BINARY LOGS"
        )

    def _undisturbed(self) -> None:
        """A run in whose way nobody is but the sessions of those that were killed, for as long as they last."""
        chance = random.Random(f"{self.seed} quiet {self.rounds}")
        limits = CaptureLimits(batch_changes=chance.choice([300, 500_000]), piece_changes=chance.choice([30, 50_000]))
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.maker.world.but(limits=limits).run(f"quiet {self.rounds}")
                return
            except EtlSyncError as error:
                if not error.is_retryable or time.monotonic() > patient_until:
                    told = [f"A run that nobody disturbed failed: {error!r}", *self.last_runs()]
                    raise SoakError("\n".join(told)) from None
                time.sleep(0.2)

    def compare(self) -> None:
        with psycopg.connect(self.warehouse_db, autocommit=True) as warehouse:
            for name, key in KEYS.items():
                here, there = self._rows(name), self._copied_rows(warehouse, name)
                wrong = sorted(each for each in here.keys() | there.keys() if here.get(each) != there.get(each))
                differences = [Difference(each, here.get(each), there.get(each)) for each in wrong]
                self.refuse_differences(name, differences)
                self.audit.refuse_vanished(warehouse, name, key, is_soft=self.maker.world.delete == "soft")
            amiss = self._sums(warehouse) | self.audit.leftovers(warehouse)
        if amiss:
            raise SoakError("\n".join([f"What does not add up: {amiss}, {self}", *self.last_runs()]))

    def _columns(self, name: str) -> list[str]:
        return [row[0] for row in self.shop.execute(COLUMNS.format(name))]

    def _rows(self, name: str) -> dict[Key, str]:
        columns = self._columns(name)
        rows = self.shop.execute(f"SELECT {', '.join(f'`{each}`' for each in columns)} FROM {name}")
        return _by_key(KEYS[name], columns, rows)

    def _copied_rows(self, warehouse: psycopg.Connection, name: str) -> dict[Key, str]:
        """The live ones."""
        columns = self._columns(name)
        read = ", ".join(f'"{each}"::text' if each in AS_TEXT else f'"{each}"' for each in columns)
        live = f"{SOFT_DELETED} IS NOT TRUE" if self._has_flags(warehouse, name) else "true"
        return _by_key(KEYS[name], columns, warehouse.execute(f"SELECT {read} FROM {name} WHERE {live}").fetchall())

    def _has_flags(self, warehouse: psycopg.Connection, name: str) -> bool:
        query = "SELECT FROM pg_attribute WHERE attname = %s AND attrelid = %s::regclass"
        return bool(warehouse.execute(query, [SOFT_DELETED, name]).rowcount)

    def _sums(self, warehouse: psycopg.Connection) -> dict[str, Any]:
        """What is told and has not been; from one quiet moment to the next."""
        wrong = self.audit.written(warehouse)
        ((made,),) = self.shop.execute("SELECT count(*) FROM audit")
        now = int(made), int(scalar(warehouse, CHANGES))
        if self._changes_before is not None and self.is_told_once:
            made, told = (after - before for before, after in zip(self._changes_before, now, strict=True))
            self.changes += made
            if made != told:
                wrong["changes made, changes told"] = made, told
        self._changes_before = now
        return wrong

    def last_runs(self) -> Iterable[str]:
        with psycopg.connect(self.warehouse_db) as warehouse:
            return [row[0] for query in (STATE, LAST_RUNS) for row in warehouse.execute(query)]

    def keys_of(self, name: str, key: Key) -> list[Key]:
        return [(name, *key), WHOLE_TABLE]


def _by_key(key: Key, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> dict[Key, str]:
    places = [columns.index(name) for name in key]
    return {tuple(row[place] for place in places): repr(tuple(row)) for row in rows}


def _no_deeds(*_: object) -> Any:
    raise NotImplementedError("The writers of MariaDB have deeds of their own.")
