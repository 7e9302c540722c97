"""The soak: writers that do anything, syncs that are killed anywhere, and in the end two tables that are the same.

``python -m tests.scenarios.soak --minutes 30`` plays rounds until the time is over. In each round writers change the
source while runs of both forms are killed, stalled, tried again, given up, and started two at once. A round ends in a
quiet moment: the writers pause, one sync and one reconcile run undisturbed, and then source and destination must be
equal, every count must add up, and the watermark must never have been seen to go back. The seed is printed: it
repeats the choices, though not the moments at which the operating system lets the processes run.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.placing import quickest_place
from tests.scenarios import soak_table
from tests.scenarios.soak_runs import Runs, SoakError, reconcile
from tests.scenarios.soak_writers import Habits, Writers
from tests.scenarios.world import FORMS, World

SAMPLE_SECONDS = 0.05
SHOWN = 5

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


@dataclass(slots=True)
class Soak:
    """
    :param seconds: how long writers and runs go on; the round under way is finished
    :param has_deletes: whether rows go for good, which only a reconcile carries over
    """

    source_db: str
    warehouse_db: str
    root: Path
    seed: int
    seconds: float
    has_deletes: bool = False
    rounds: int = 0
    runs: Runs = field(init=False)
    writers: Writers = field(init=False)
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        world = World(self.source_db, self.warehouse_db, self.root / "staging")
        self.runs = Runs(world, self.root / "runs", self.seed)
        if self.has_deletes:
            self.runs.forms = ("chain", "chain", "one_task", "one_task", "reconcile")
        self.writers = Writers(self.source_db, self.seed, Habits(has_deletes=self.has_deletes))
        self.watcher = Watcher(self.warehouse_db)

    def play(self) -> None:
        """:raises SoakError: with all that is needed to find out why"""
        self.prepare()
        ends = time.monotonic() + self.seconds
        tells = time.monotonic() + 60
        with self.watcher.watching(), self.writers.at_work():
            while time.monotonic() < ends:
                self._round(ends)
                self._quiet()
                if time.monotonic() > tells:
                    self.tell()
                    tells = time.monotonic() + 60
        self.tell()

    def tell(self) -> None:
        with psycopg.connect(self.warehouse_db) as warehouse:
            rows = warehouse.execute("SELECT count(*) FROM t").fetchone()
        print(
            f"{time.strftime('%H:%M:%S')} {self.rounds} quiet moments, all equal; {self.runs.tally}; "
            f"{self.writers.transactions} transactions, {rows and rows[0]} rows, {self.watcher.seen} watermarks seen",
            flush=True,
        )

    def prepare(self) -> None:
        with psycopg.connect(self.source_db) as source, psycopg.connect(self.warehouse_db) as warehouse:
            for connection in (source, warehouse):
                connection.execute(soak_table.TYPES)
            source.execute(soak_table.TABLE)
            source.execute(soak_table.GRAVES)
        self.runs.world.run()

    def _round(self, ends: float) -> None:
        """Some runs, under habits of the writers that fit the runs' conflict strategies."""
        self.rounds += 1
        chance = random.Random(f"{self.seed} round {self.rounds}")
        is_honest = chance.random() < 0.5
        self.runs.conflicts = ("source_wins", "latest_wins") if is_honest else ("source_wins",)
        with self.writers.held_still():
            self.writers.habits.is_cursor_honest = is_honest
            self.writers.habits.prepares = chance.random() < 0.4
            if is_honest:  # what was written since the last quiet moment went by the former habits
                self.runs.settle()
                self.runs.world.run("one_task")
        for _ in range(chance.randint(5, 30)):
            self._refuse_failures()
            self.runs.play()
            if time.monotonic() > ends:
                return

    def _quiet(self) -> None:
        """One sync and one reconcile that nobody disturbs, and a comparison."""
        with self.writers.held_still():
            self.runs.settle()
            self.runs.world.run(FORMS[self.rounds % 2])
            if self.has_deletes:
                reconcile(self.runs.world, f"quiet {self.rounds}")
            self.compare()
        self._refuse_failures()

    def compare(self) -> None:
        """:raises SoakError: where rows differ or counts do not add up"""
        with psycopg.connect(self.source_db) as source, psycopg.connect(self.warehouse_db) as warehouse:
            self._refuse_differences(source, warehouse)
            for query in (COUNTS_THAT_DO_NOT_ADD_UP, CHUNKS_THAT_DO_NOT_ADD_UP):
                wrong = warehouse.execute(query).fetchall()
                if wrong:
                    raise SoakError(f"Counts that do not add up: {wrong}")

    def _refuse_differences(self, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
        found = soak_table.differences(source, warehouse)
        if not found:
            return
        told = [f"{len(found)} rows differ, {self.runs.tally}"]
        for difference in found[:SHOWN]:
            told += [str(difference), *(f"  {line}" for line in self.writers.history[difference.key])]
        told += ["the last runs, newest first:", *(row[0] for row in warehouse.execute(LAST_RUNS))]
        raise SoakError("\n".join(told))

    def _refuse_failures(self) -> None:
        if self.watcher.complaint:
            raise SoakError(self.watcher.complaint)
        if self.writers.failure:
            raise SoakError(f"A writer failed: {self.writers.failure!r}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", default="", help="repeats the choices of another soak")
    parser.add_argument("--no-deletes", action="store_true", help="let no row go for good")
    options = parser.parse_args()
    seed = int(options.seed or random.SystemRandom().randrange(10**9))
    print(f"seed {seed}", flush=True)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etl-sync-soak-")))
        postgres = stack.enter_context(
            EmbeddedPostgres(settings={"max_prepared_transactions": "20"}, parent=quickest_place())
        )
        source, warehouse = (postgres.create_database(name) for name in ("source", "warehouse"))
        soak = Soak(source, warehouse, root, seed, options.minutes * 60, has_deletes=not options.no_deletes)
        try:
            soak.play()
        except AssertionError as error:
            print(f"{error}\nFAILED with seed {seed} after {soak.runs.tally}", flush=True)
            return 1
    print(f"EQUAL after {soak.rounds} quiet moments, {soak.runs.tally}; seed {seed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
