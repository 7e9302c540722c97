"""S20: what happens beside a reconcile, or to it, harms no row."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from time import sleep
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.keys import KeyBlock, KeyStream, ReconcileRules, Settled
from airflow_etl_sync.core.model import ConflictStrategy, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, SourceError, StateError
from airflow_etl_sync.journey import reconcile as journey
from airflow_etl_sync.journey.reconcile import ReconcileReport
from airflow_etl_sync.systems.postgres import comparison, keys, sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
from tests.scenarios.reconciling import EVERYTHING, HARD, SOFT, STRATEGIES, Asked, flagged, runs, staged, sync_hundred
from tests.scenarios.world import World, rows, scalar, transaction

pytestmark = pytest.mark.scenario("S20")

RUN = "the reconcile that is killed"


@pytest.fixture
def synced(world: World, source: psycopg.Connection) -> World:
    return sync_hundred(world, source)


@pytest.mark.parametrize(("strategy", "rules"), list(zip(STRATEGIES, [HARD, SOFT, SOFT, HARD], strict=True)))
def test_a_row_that_is_inserted_and_loaded_after_the_keys_were_read_survives(
    strategy: ConflictStrategy,
    rules: ReconcileRules,
    synced: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    world = synced.but(load_rules=LoadRules(conflict=strategy))
    source.execute("DELETE FROM t WHERE id = 7")

    def insert_and_load() -> None:
        source.execute("INSERT INTO t VALUES (101, now(), 'new'), (7, now(), 'back')")
        world.run()

    report = world.reconcile(rules, source=Asked(world, insert_and_load))
    assert (report.numbers.absent, report.settled) == (2, Settled())
    assert rows(warehouse, "id") == rows(source, "id")
    assert rules is HARD or flagged(warehouse) == []


def test_a_flagged_row_that_is_deleted_once_more_after_the_keys_were_read_stays_flagged(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE kept AS SELECT * FROM t WHERE id = 7")
    source.execute("DELETE FROM t WHERE id = 7")
    synced.reconcile(SOFT)
    source.execute("INSERT INTO t SELECT * FROM kept")
    report = synced.reconcile(SOFT, source=Asked(synced, lambda: source.execute("DELETE FROM t WHERE id = 7")))
    assert (report.numbers.returned, report.settled) == (1, Settled())
    assert flagged(warehouse) == [7]


def test_nobody_writes_between_the_question_and_the_delete(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Under dest_wins a load would skip the row that is about to be deleted, and never bring it again."""
    world = synced.but(load_rules=LoadRules(conflict="dest_wins"))
    source.execute("DELETE FROM t WHERE id = 7")
    loads: list[threading.Thread] = []

    class Answering(PostgresKeySource):
        def find_present(self, keys: KeyBlock) -> set[int]:
            present = super().find_present(keys)
            source.execute("INSERT INTO t VALUES (7, now(), 'back')")
            loads.append(threading.Thread(target=world.run))
            loads[0].start()
            loads[0].join(1)
            assert loads[0].is_alive(), "the load waits"
            return present

    keys = Answering(PostgresAccess(world.source_db), KeyStream(sync_key="t", table=TableName("t")))
    assert world.reconcile(HARD, source=keys).settled == Settled(1, 0)
    loads[0].join()
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 7") == "back"


def test_a_table_that_stays_busy_is_left_for_a_retry(
    synced: World, source: psycopg.Connection, warehouse_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "LONGEST_WAIT", "200ms")
    source.execute("DELETE FROM t WHERE id = 7")
    with (
        transaction(warehouse_db, "UPDATE t SET v = v WHERE id = 8"),
        pytest.raises(DestinationError, match="could not be locked: a retry") as failure,
    ):
        synced.reconcile(HARD)
    assert failure.value.is_retryable
    assert failure.value.sqlstate == "55P03"
    assert synced.reconcile(HARD).settled == Settled(1, 0)


def test_a_source_that_does_not_answer_holds_no_lock_for_long(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LONGEST_QUESTION", "200ms")
    source.execute("DELETE FROM t WHERE id = 7")
    with transaction(synced.source_db) as busy:
        asked = Asked(synced, lambda: busy.execute("LOCK TABLE t"))
        with pytest.raises(SourceError, match="within 200ms") as failure:
            synced.reconcile(HARD, source=asked)
    assert failure.value.is_retryable
    assert scalar(warehouse, "SELECT count(*) FROM t") == 100


def test_a_worker_that_is_gone_for_long_loses_its_lock(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "LONGEST_IDLENESS", "200ms")
    source.execute("DELETE FROM t WHERE id = 7")

    class Absent(PostgresKeySource):
        def find_present(self, keys: KeyBlock) -> set[int]:
            warehouse.execute("SELECT pg_sleep(0.5)")
            warehouse.execute("UPDATE t SET v = 'written' WHERE id = 7")
            return super().find_present(keys)

    absent = Absent(PostgresAccess(synced.source_db), KeyStream(sync_key="t", table=TableName("t")))
    warehouse.execute("SET lock_timeout = '3s'")
    with pytest.raises(DestinationError) as failure:
        synced.reconcile(HARD, source=absent)
    assert failure.value.is_retryable
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 7") == "written"


def test_two_at_once_do_no_harm(synced: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute("DELETE FROM t WHERE id <= 5")
    reports: list[ReconcileReport] = []
    first = Asked(synced, lambda: reports.append(synced.reconcile(SOFT)))
    reports.append(synced.reconcile(SOFT, source=first))
    assert [report.settled for report in reports] == [Settled(5, 0), Settled()]
    assert flagged(warehouse) == [1, 2, 3, 4, 5]
    assert [run[0] for run in runs(warehouse)] == ["done", "done"]
    assert staged(warehouse) == 0


def test_it_overtakes_no_sync_and_no_sync_overtakes_it(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = 'new', c = now() WHERE id = 1")
    source.execute("DELETE FROM t WHERE id IN (2, 3)")
    source.execute("SELECT pg_sleep(0.1)")
    extraction = synced.extract()
    assert synced.reconcile(HARD).settled == Settled(2, 0)
    assert synced.load(extraction).updated == 1
    assert synced.advance(extraction).watermark == extraction.window.high

    source.execute("DELETE FROM t WHERE id = 4")
    assert synced.reconcile(HARD, source=Asked(synced, synced.extract)).settled == Settled(1, 0)
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.sync_run WHERE is_overtaken AND kind = 'reconcile'") == 0


@pytest.mark.parametrize(
    ("failpoint", "delete"),
    [
        ("before systems.postgres.destination:PostgresDestination.stage 1", "hard"),
        ("after systems.postgres.destination:PostgresDestination.stage 1", "soft"),
        ("after systems.postgres.comparison:PostgresComparison.lay_side_by_side 1", "hard"),
        ("before systems.postgres.keys:PostgresKeySource.find_present 2", "soft"),
        ("after systems.postgres.comparison:PostgresComparison.settle 2", "hard"),
        ("after state.runs:record_settled 2", "soft"),
        ("before state.runs:mark_reconciled 1", "hard"),
    ],
)
def test_killed_and_run_again_it_does_what_is_left(
    delete: Any, failpoint: str, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("DELETE FROM t WHERE id <= 10")
    synced.run_killed("reconcile " + delete, failpoint, RUN)
    rest = synced.reconcile(ReconcileRules(delete=delete), run=RUN, block_rows=4)
    done = runs(warehouse)
    assert [run[0] for run in done] == ["abandoned", "done"]
    assert sum(run[6] for run in done) == 10, "each row is counted once, in the try that deleted it"
    assert rest.settled.deleted == done[1][6]
    if delete == "hard":
        assert rows(warehouse, "id") == rows(source, "id")
    else:
        assert flagged(warehouse) == list(range(1, 11))
    assert staged(warehouse) == 0


def test_lost_staging_deletes_nothing(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the server empties unlogged tables: every row would look gone."""
    real = sql.reconciling.analyze_staging

    def emptied(name: str) -> Any:
        warehouse.execute(f"TRUNCATE etl_sync.{name}")
        return real(name)

    with monkeypatch.context() as crash:
        crash.setattr(sql.reconciling, "analyze_staging", emptied)
        with pytest.raises(DestinationError, match="0 of 100 keys"):
            synced.reconcile(EVERYTHING)
    assert scalar(warehouse, "SELECT count(*) FROM t") == 100
    assert synced.reconcile(EVERYTHING).settled == Settled()


class Writer:
    """Inserts rows and deletes some. Most are inserted once and stay, so that nothing mends a loss; some come back."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._ids = count(1_000)
        self._deleted: list[int] = []

    def write(self, connection: psycopg.Connection) -> None:
        new = [next(self._ids) for _ in range(8)]
        back = self._dice.sample(self._deleted, min(6, len(self._deleted)))
        insert = "INSERT INTO t SELECT unnest(%s::bigint[]), clock_timestamp() ON CONFLICT DO NOTHING"
        connection.execute(insert, [new + back])
        gone = new[:3] + back[:2]
        connection.execute("DELETE FROM t WHERE id = ANY(%s)", [gone])
        self._deleted = list({*self._deleted, *gone} - {*back[2:]})
        sleep(self._dice.random() / 20)


@contextmanager
def again_and_again(*steps: Callable[[], Any]) -> Iterator[None]:
    """Each step runs over and over in a thread of its own; what one of them raises is raised at the end."""
    is_over = threading.Event()

    def loop(step: Callable[[], Any]) -> None:
        while not is_over.is_set():
            step()

    with ThreadPoolExecutor(len(steps)) as pool:
        loops = [pool.submit(loop, step) for step in steps]
        yield
        is_over.set()
    for each in loops:
        each.result()


def test_beside_writers_and_syncs_no_row_is_lost(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that a reconcile took by mistake would stay away: the watermark has passed it."""
    world = synced.but(load_rules=LoadRules(conflict="dest_wins"))
    seed = secrets.randbits(32)
    real = comparison.PostgresComparison.lay_side_by_side

    def compare_slowly(self: Any, *given: Any) -> None:
        sleep(0.5)
        real(self, *given)

    class Slow(PostgresKeySource):
        def find_present(self, keys: KeyBlock) -> set[int]:
            present = super().find_present(keys)
            sleep(0.3)
            return present

    def reconcile() -> None:
        slow = Slow(PostgresAccess(world.source_db), KeyStream(sync_key="t", table=TableName("t")))
        world.reconcile(EVERYTHING, source=slow, block_rows=1_000)

    monkeypatch.setattr(comparison.PostgresComparison, "lay_side_by_side", compare_slowly)
    with again_and_again(partial(Writer(seed).write, source), world.sync, reconcile):
        sleep(5)
    sleep(0.2)
    world.sync()
    world.reconcile(EVERYTHING)
    assert rows(warehouse, "id") == rows(source, "id"), f"seed {seed}"


def test_a_try_that_stood_still_makes_way_for_the_next(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.execute("DELETE FROM t WHERE id <= 5")
    settle_all = journey._settle_all

    def settle_late(*arguments: Any) -> Iterator[Settled]:
        monkeypatch.setattr(journey, "_settle_all", settle_all)
        assert synced.reconcile(HARD, RUN).settled.deleted == 5
        return settle_all(*arguments)

    monkeypatch.setattr(journey, "_settle_all", settle_late)
    with pytest.raises(StateError, match="A later try of this task reconciles 't' now"):
        synced.reconcile(HARD, RUN)
    assert [run[0] for run in runs(warehouse)] == ["abandoned", "done"]
    assert rows(warehouse, "id") == rows(source, "id")
