"""Loads into a destination away from the state tables that die, or are overtaken, between the two commits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, Extraction, LoadRules, RunIdentity
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, EtlSyncError, StateError
from airflow_etl_sync.journey import failed_records
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.systems.base import Merged, table_in
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.contract.systems import DestinationSystem, MariaDbSystem, SqlAlchemySystem, SqliteSystem
from tests.mariadb import new_mariadb
from tests.scenarios.journeys_elsewhere import Dying, Journeys

ROWS = 10
MADE_ANEW = "CREATE TABLE t (id integer PRIMARY KEY, v varchar(9) NOT NULL)"


@pytest.fixture(params=["mariadb", "sqlite", "sqlalchemy"])
def elsewhere(request: pytest.FixtureRequest, new_database: Any, tmp_path: Path) -> Iterator[DestinationSystem]:
    state = new_database("state")
    if request.param == "sqlite":
        yield SqliteSystem(tmp_path / "warehouse.db", state)
    elif request.param == "sqlalchemy":
        yield SqlAlchemySystem(new_database("warehouse"), state)
    else:
        with new_mariadb() as database:
            yield MariaDbSystem(database, state)


@pytest.fixture(autouse=True)
def filled(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL)")
    source.execute("INSERT INTO t SELECT n, 'old' FROM generate_series(1, %s) AS n", [ROWS])


@pytest.fixture
def chain(source_db: str, elsewhere: Any, tmp_path: Path) -> Journeys:
    return Journeys(source_db, elsewhere, tmp_path / "staging", "chain")


@pytest.fixture
def one_task(source_db: str, elsewhere: Any, tmp_path: Path) -> Journeys:
    return Journeys(source_db, elsewhere, tmp_path / "staging", "one_task")


@pytest.fixture(params=["chain", "one_task"])
def journeys(request: pytest.FixtureRequest, source_db: str, elsewhere: Any, tmp_path: Path) -> Journeys:
    return Journeys(source_db, elsewhere, tmp_path / "staging", request.param)


@pytest.mark.scenario("S12")
def test_a_try_that_dies_between_the_two_commits_is_gone_on_with(
    journeys: Journeys, source: psycopg.Connection
) -> None:
    extraction = journeys.extract("r") if journeys.form == "chain" else None
    for nth in (1, 1, 2):  # the first chunk, the second, and the fourth
        with pytest.raises(DestinationError, match="the worker was lost"):
            journeys.go("r", Dying(journeys.destination(), nth), extraction)
    assert [row[0] for row in journeys.system.rows("t")] == list(range(1, ROWS + 1))
    assert journeys.go("r", None, extraction) == Counts(inserted=ROWS)
    assert journeys.system.rows("t") == [(n, "old") for n in range(1, ROWS + 1)]
    source.execute("UPDATE t SET v = 'new' WHERE id <= 4")
    with pytest.raises(DestinationError, match="the worker was lost"):
        journeys.go("next", Dying(journeys.destination(), 2))
    if journeys.form == "one_task":
        assert journeys.go("next") == Counts(updated=4, skipped=ROWS - 4)
    assert journeys.system.rows("t")[3:5] == [(4, "new"), (5, "old")]


@pytest.mark.scenario("S12")
def test_rows_that_the_source_gives_otherwise_the_second_time_are_neither_lost_nor_counted_twice(
    one_task: Journeys, source: psycopg.Connection
) -> None:
    with pytest.raises(DestinationError, match="the worker was lost"):
        one_task.go("r", Dying(one_task.destination(), 1))
    source.execute("DELETE FROM t WHERE id = 2")
    source.execute("INSERT INTO t VALUES (-1, 'late')")
    assert one_task.go("r") == Counts(inserted=ROWS)
    assert [row[0] for row in one_task.system.rows("t")] == list(range(1, ROWS + 1))


def test_a_table_of_the_same_name_elsewhere_is_another_target(chain: Journeys, tmp_path: Path) -> None:
    extraction = chain.extract("r")
    beside = SqliteSystem(tmp_path / "beside.db", chain.system.state)
    for system in (chain.system, beside):
        counts = load(system.destination("t"), chain.staging, extraction, LoadRules())
        assert counts == Counts(inserted=ROWS) and len(system.rows("t")) == ROWS


def test_an_overtaken_run_that_is_slow_to_die_is_kept_out_by_the_destination(
    chain: Journeys, source: psycopg.Connection
) -> None:
    """The state's lock on the run is gone with its connection, and the merge only begins then."""
    older = chain.extract("older")
    refusals: list[str] = []

    class Slow(Dying):
        def merge(self, *arguments: Any) -> Merged:
            with closing(psycopg.connect(chain.system.state, autocommit=True)) as admin:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in%'")
            source.execute("UPDATE t SET v = 'new'")
            assert chain.go("newer") == Counts(inserted=ROWS)
            try:
                return self._destination.merge(*arguments)
            except StateError as error:
                refusals.append(str(error))
                raise

    with pytest.raises(EtlSyncError):  # the state's connection is gone as well
        load(Slow(chain.destination(), 0), chain.staging, older, LoadRules())
    assert len(refusals) == 1 and "A newer run of 's' has loaded" in refusals[0]
    assert chain.system.rows("t") == [(n, "new") for n in range(1, ROWS + 1)]


def test_runs_of_a_sync_begin_one_after_another_whatever_the_clocks_say(chain: Journeys) -> None:
    chain.extract("first")
    with psycopg.connect(chain.system.state) as connection:
        connection.execute("UPDATE etl_sync.sync_run SET started_at = started_at + interval '1 hour'")
    chain.extract("second")
    with psycopg.connect(chain.system.state) as connection:
        query = "SELECT run_id FROM etl_sync.sync_run ORDER BY started_at"
        assert connection.execute(query).fetchall() == [("first",), ("second",)]


def test_loads_at_the_same_time_make_one_table_and_count_every_row_once(
    chain: Journeys, source: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t SELECT n, 'more' FROM generate_series(%s, 2000) AS n", [ROWS + 1])
    chain.chunk_rows = 100
    extraction = chain.extract("r")
    with ThreadPoolExecutor(4) as pool:
        loads = [
            pool.submit(load, chain.destination(), chain.staging, part, LoadRules()) for part in extraction.parts(4)
        ]
        counts = sum((each.result() for each in loads), Counts())
    assert counts == Counts(inserted=2000)
    assert [row[0] for row in chain.system.rows("t")] == list(range(1, 2001))


def test_an_empty_table_is_made_with_its_columns(journeys: Journeys, source: psycopg.Connection) -> None:
    source.execute("TRUNCATE t")
    assert journeys.go("r") == Counts()
    assert journeys.system.rows("t") == []


def test_failed_records_are_replayed_into_their_own_table_and_no_other(
    one_task: Journeys, source: psycopg.Connection
) -> None:
    system, state = one_task.system, PostgresAccess(one_task.system.state)
    system.execute("CREATE TABLE t (id integer PRIMARY KEY, v varchar(9) NOT NULL, CHECK (v <> 'bad'))")
    source.execute("UPDATE t SET v = 'bad' WHERE id IN (3, 4)")
    one_task.rules = LoadRules(max_errors=2)
    with pytest.raises(DestinationError, match="the worker was lost"):
        one_task.go("r", Dying(one_task.destination(), 1))
    assert one_task.go("r") == Counts(inserted=ROWS - 2, errors=2)
    failed = failed_records.find(state.engine(), "s")
    assert sorted(record.record.payload["id"] or "" for record in failed) == ["3", "4"]

    identity = RunIdentity("d", "replay", "r")
    with pytest.raises(ConfigurationError, match="in another place than this replay loads into"):
        failed_records.replay_all(
            lambda target: PostgresDestination(state, table_in(target)), state.engine(), "s", identity
        )
    system.execute("ALTER TABLE t RENAME TO old", MADE_ANEW)
    counts = failed_records.replay_all(lambda _: system.destination("t"), state.engine(), "s", identity)
    assert counts == Counts(inserted=2)
    assert system.rows("t") == [(3, "bad"), (4, "bad")]
    assert failed_records.find(state.engine(), "s") == []


def test_loads_at_the_same_time_do_not_pass_the_limit_of_errors_together(
    chain: Journeys, source: psycopg.Connection
) -> None:
    """A merge elsewhere cannot be undone when the ledger is written, so the next counts its errors only after that."""
    chain.rules = LoadRules(max_errors=3)
    chain.system.execute(MADE_ANEW)
    source.execute("ALTER TABLE t ALTER v DROP NOT NULL")
    source.execute("UPDATE t SET v = NULL WHERE id IN (1, 2, 4, 5)")  # two in each of two chunks
    extraction, both = chain.extract("r"), Barrier(2)

    class Meeting(Dying):
        def merge(self, *arguments: Any) -> Merged:
            with suppress(BrokenBarrierError):  # the other counts before it comes here
                both.wait(2)
            return self._destination.merge(*arguments)

    def refusal(part: Extraction) -> str:
        try:
            load(Meeting(chain.destination(), 0), chain.staging, part, chain.rules)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        refusals = list(pool.map(refusal, replace(extraction, chunks=extraction.chunks[:2]).parts(2)))
    loaded, refused = sorted(refusals, key=len)
    assert not loaded and "only 1 more may be set aside" in refused
