"""The soak of incremental syncs: chain and one-task form, and reconciles where rows go for good."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import psycopg

from airflow_etl_sync.core.keys import ReconcileRules
from airflow_etl_sync.core.model import ConflictStrategy, Extraction, LoadRules
from airflow_etl_sync.journey.load import load
from tests.scenarios import soak_table
from tests.scenarios.soak_runs import Outcome, Runs, SoakError, Work
from tests.scenarios.soak_sync_deeds import GRAVES, Habits, SyncDeeds
from tests.scenarios.soak_table import Compared
from tests.scenarios.soak_writers import Writers
from tests.scenarios.soaking import Soak
from tests.scenarios.world import FORMS, World

Form = Literal["chain", "one_task", "reconcile"]
CHUNK_ROWS = (20, 100, 400, 5_000)
SAMPLE_SECONDS = 0.05

COUNTS_THAT_DO_NOT_ADD_UP = """
SELECT run_id, rows_extracted, inserted, updated, skipped, errors FROM etl_sync.sync_run
WHERE status = 'done' AND kind = 'incremental'
    AND (rows_extracted <> inserted + updated + skipped + errors OR errors <> 0)
"""
CHUNKS_THAT_DO_NOT_ADD_UP = """
SELECT run_id, run.rows_extracted, run.inserted, run.updated, run.skipped, count(*), count(loaded.number),
    sum(extracted.rows), sum(loaded.inserted), sum(loaded.updated), sum(loaded.skipped)
FROM etl_sync.sync_run AS run
JOIN etl_sync.extracted_chunk AS extracted USING (extraction_id)
LEFT JOIN etl_sync.loaded_chunk AS loaded USING (extraction_id, number)
WHERE status = 'done' GROUP BY run_id, run.extraction_id, run.rows_extracted, run.inserted, run.updated, run.skipped
HAVING count(*) <> count(loaded.number) OR sum(extracted.rows) <> run.rows_extracted
    OR (sum(loaded.inserted), sum(loaded.updated), sum(loaded.skipped)) <> (run.inserted, run.updated, run.skipped)
"""
LAST_RUNS = """
SELECT concat_ws(' | ', run_id, status, low, high, is_resumed, is_overtaken, protection,
    started_at, extracted_at, finished_at, rows_extracted, inserted, updated, skipped)
FROM etl_sync.sync_run ORDER BY started_at DESC LIMIT 25
"""


@dataclass(frozen=True, slots=True)
class SyncWork:
    """A sync in one of its forms, or a reconcile."""

    world: World
    kind: Form

    def take(self, name: str, folder: Path, try_number: int) -> None:
        if self.kind == "reconcile":
            reconcile(self.world, name)
        elif self.kind == "one_task":
            self.world.sync(name, try_number=try_number)
        else:
            self._go_on(name, folder / "extraction.json", try_number)

    def _go_on(self, name: str, handed_on: Path, try_number: int) -> None:
        """The chain, from where the last try stopped."""
        if handed_on.exists():
            extraction = Extraction.from_xcom(json.loads(handed_on.read_text()))
        else:
            extraction = self.world.extract(name)
            draft = handed_on.with_name(f"draft-{os.getpid()}")
            draft.write_text(json.dumps(extraction.to_json()))
            draft.replace(handed_on)
        world = self.world
        with ThreadPoolExecutor(2) as mapped:
            loads = [
                mapped.submit(load, world.destination, world.staging, part, world.load_rules, try_number)
                for part in extraction.parts(2)
            ]
        for each in loads:
            each.result()
        world.advance(extraction)


def reconcile(world: World, name: str) -> None:
    """Delete what is gone from the source, however much it is."""
    world.reconcile(ReconcileRules(max_delete_percent=100), name, block_rows=50)


@dataclass(slots=True)
class SyncMaker:
    """:param conflicts: the strategies that the writers' habits allow"""

    world: World
    forms: tuple[Form, ...]
    conflicts: tuple[ConflictStrategy, ...] = ("source_wins", "latest_wins")
    failpoints: tuple[str, ...] = ()

    def new(self, chance: random.Random) -> SyncWork:
        rules = LoadRules(conflict=chance.choice(self.conflicts))
        world = replace(self.world, load_rules=rules, chunk_rows=chance.choice(CHUNK_ROWS))
        return SyncWork(world, chance.choice(self.forms))

    def suits(self, work: Work) -> bool:
        return isinstance(work, SyncWork) and work.world.load_rules.conflict in self.conflicts

    def ended(self, work: Work, how: Outcome) -> None:
        pass


@dataclass(slots=True)
class Watcher:
    """Looks at the watermark again and again, and remembers if it ever went back."""

    conninfo: str
    seen: int = 0
    complaint: str | None = None
    _ends: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()

    def _watch(self) -> None:
        last, version = "-infinity", 0
        query = "SELECT cursor_value, version, cursor_value::timestamptz < %s FROM etl_sync.watermark"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            while not self._ends.wait(SAMPLE_SECONDS):
                row = connection.execute(query, [last]).fetchone()
                if row is None or row[0] is None:
                    continue
                if row[2] or row[1] < version:
                    self.complaint = f"the watermark went from {last} ({version}) back to {row[0]} ({row[1]})"
                self.seen += row[1] != version
                last, version = row[0], row[1]


@dataclass(slots=True, kw_only=True)
class SyncSoak(Soak):
    """:param has_deletes: whether rows go for good, which only a reconcile carries over"""

    has_deletes: bool = False
    maker: SyncMaker = field(init=False)
    habits: Habits = field(init=False)
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        world = World(self.source_db, self.warehouse_db, self.root / "staging")
        forms: tuple[Form, ...] = (*FORMS, *FORMS, "reconcile") if self.has_deletes else FORMS
        self.maker = SyncMaker(world, forms)
        self.habits = Habits(has_deletes=self.has_deletes)
        self.runs = Runs(self.maker, self.root / "runs", self.seed)
        self.writers = Writers(
            self.source_db, self.seed, lambda connection, chance: SyncDeeds(connection, chance, self.habits)
        )
        self.watcher = Watcher(self.warehouse_db)

    def __str__(self) -> str:
        with psycopg.connect(self.warehouse_db) as warehouse:
            rows = warehouse.execute("SELECT count(*) FROM t").fetchone()
        return (
            f"{self.runs.tally}; {self.writers.transactions} transactions, {rows and rows[0]} rows, "
            f"{self.watcher.seen} watermarks seen"
        )

    def prepare(self) -> None:
        with psycopg.connect(self.source_db) as source, psycopg.connect(self.warehouse_db) as warehouse:
            for connection in (source, warehouse):
                connection.execute(soak_table.TYPES)
            source.execute(soak_table.TABLE)
            source.execute(GRAVES)
        self.maker.world.run()

    @contextmanager
    def watching(self) -> Iterator[None]:
        with self.watcher.watching():
            yield

    def complaint(self) -> str | None:
        return self.watcher.complaint

    def vary(self, chance: random.Random) -> None:
        """Habits of the writers that fit the runs' conflict strategies."""
        is_honest = chance.random() < 0.5
        self.maker.conflicts = ("source_wins", "latest_wins") if is_honest else ("source_wins",)
        self.habits.is_cursor_honest = is_honest
        if is_honest:  # what was written since the last quiet moment went by the former habits
            self.runs.settle()
            self.maker.world.run("one_task")

    def settle(self) -> None:
        """One sync and one reconcile that nobody disturbs."""
        self.maker.world.run(FORMS[self.rounds % 2])
        if self.has_deletes:
            reconcile(self.maker.world, f"quiet {self.rounds}")

    def compare(self) -> None:
        with psycopg.connect(self.source_db) as source, psycopg.connect(self.warehouse_db) as warehouse:
            self.refuse_differences("t", Compared().differences(source, warehouse))
            for query in (COUNTS_THAT_DO_NOT_ADD_UP, CHUNKS_THAT_DO_NOT_ADD_UP):
                wrong = warehouse.execute(query).fetchall()
                if wrong:
                    raise SoakError(f"Counts that do not add up: {wrong}")

    def last_runs(self) -> Iterable[str]:
        with psycopg.connect(self.warehouse_db) as warehouse:
            return [row[0] for row in warehouse.execute(LAST_RUNS)]
