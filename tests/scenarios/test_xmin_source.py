"""S01, S12, S21 for ``xmin`` where the source is at its edges: it crashes, is a standby, is restored, wraps around."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import SourceError
from airflow_etl_sync.systems.postgres import transactions
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.scenarios.aging import AgingPostgres
from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.world import FORMS, Form, World, rows, scalar, transaction, watermark

RUN = "the run"
TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 50) AS i"


@pytest.fixture
def doomed_world(world: World, doomed_db: str) -> World:
    """Fifty rows on the server that may crash and has standbys."""
    with psycopg.connect(doomed_db, autocommit=True) as source:
        source.execute(TABLE)
        source.execute(FILL)
    return world.but(source_db=doomed_db).streaming(cursor_field="xmin")


@pytest.fixture
def lazy(mortal: MortalPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server brings to its disk only what commits; for the rest it takes ten seconds."""
    monkeypatch.setattr(transactions, "LOG_WAIT_SECONDS", 0.2)
    with psycopg.connect(mortal.databases.admin, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
    yield
    with psycopg.connect(mortal.databases.admin, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM RESET wal_writer_delay")
        admin.execute("SELECT pg_reload_conf()")


@pytest.mark.scenario("S21")
@pytest.mark.usefixtures("lazy")
def test_an_id_that_a_crash_forgot_and_that_is_given_again_hides_no_row(
    mortal: MortalPostgres, doomed_world: World, warehouse: psycopg.Connection
) -> None:
    doomed_world.run()
    with psycopg.connect(doomed_world.source_db, autocommit=True) as source:
        source.execute("CHECKPOINT")
        for _ in range(20):
            source.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")
        assert "watermark stays" in doomed_world.sync().window.protection
    mortal.crash()
    mortal.restart()
    with psycopg.connect(doomed_world.source_db, autocommit=True) as source:
        source.execute("INSERT INTO t VALUES (200, 'with an id given twice')")
        for _ in range(20):
            source.execute("SELECT pg_current_xact_id()")
        doomed_world.run()
        assert rows(warehouse) == rows(source)


def wait_for_replay(primary: psycopg.Connection, standby: psycopg.Connection) -> None:
    end = scalar(primary, "SELECT pg_current_wal_lsn()::text")
    deadline = time.monotonic() + 20
    while not scalar(standby, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.scenario("S01")
def test_a_standby_knows_who_is_in_flight_and_one_that_lags_is_not_read(
    mortal: MortalPostgres, doomed_world: World, warehouse: psycopg.Connection
) -> None:
    with mortal.standby() as address, psycopg.connect(doomed_world.source_db, autocommit=True) as primary:
        world = doomed_world.but(source_db=make_conninfo(address, dbname="doomed"))
        with psycopg.connect(world.source_db, autocommit=True) as standby:
            savepoints = [f"SAVEPOINT s{i}; UPDATE t SET v = 'late' WHERE id = {i}" for i in range(1, 41)]
            with transaction(doomed_world.source_db, *savepoints) as late:
                primary.execute("UPDATE t SET v = 'soon' WHERE id = 45")
                wait_for_replay(primary, standby)
                assert world.run() == Counts(inserted=50)
                late.commit()
            wait_for_replay(primary, standby)
            assert world.run() == Counts(updated=40, skipped=1)
            assert world.run() == Counts()
            assert rows(warehouse) == rows(primary)

            standby.execute("SELECT pg_wal_replay_pause()")
            primary.execute("UPDATE t SET v = 'newer' WHERE id = 7")
            with pytest.raises(SourceError, match="older state") as caught:
                doomed_world.run(run=RUN, reader=_ReadsElsewhere(doomed_world, world.source_db))
            assert caught.value.is_retryable
            standby.execute("SELECT pg_wal_replay_resume()")
            wait_for_replay(primary, standby)
            doomed_world.run(run=RUN, reader=_ReadsElsewhere(doomed_world, world.source_db))
            assert rows(warehouse) == rows(primary)


class _ReadsElsewhere(PostgresSource):
    """A source whose address leads to one server for the window, and to another for the rows."""

    def __init__(self, world: World, elsewhere: str) -> None:
        super().__init__(PostgresAccess(world.source_db), world.stream)
        self._elsewhere = PostgresSource(PostgresAccess(elsewhere), world.stream)

    def pack(self) -> None:
        super().pack()
        self._elsewhere.pack()

    def read(self, window: Any, after: Any) -> Generator[Any]:
        return self._elsewhere.read(window, after)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_a_source_restored_between_two_tries_is_not_read_by_the_second(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLE)
    source.execute(FILL)
    world = world.streaming(cursor_field="xmin").but(chunk_rows=10)
    world.run_killed("sync" if form == "one_task" else "extract", "after state.ledger:record_extracted 2", RUN)
    warehouse.execute("UPDATE etl_sync.sync_run SET high = (high::bigint + 1000000)::text")
    with pytest.raises(SourceError, match="restored"):
        world.run(form, RUN)
    assert watermark(warehouse) is None


@pytest.mark.scenario("S21")
def test_a_server_whose_ids_begin_anew_loses_nothing(
    world: World, warehouse: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with AgingPostgres() as postgres:
        world = world.but(source_db=postgres.create_database("source")).streaming(cursor_field="xmin")
        with psycopg.connect(world.source_db, autocommit=True) as source:
            source.execute(TABLE)
            source.execute(FILL)
        assert world.run() == Counts(inserted=50)
        postgres.age_to(2**32 - 100)
        with psycopg.connect(world.source_db, autocommit=True) as source:
            source.execute("UPDATE t SET v = 'before' WHERE id <= 3")
            assert world.run() == Counts(updated=3)
            with transaction(world.source_db, "UPDATE t SET v = 'late' WHERE id = 4") as late:
                for _ in range(200):
                    source.execute("SELECT pg_current_xact_id()")
                source.execute("UPDATE t SET v = 'behind' WHERE id = 5")
                assert scalar(source, "SELECT xmin::text::bigint < 1000 FROM t WHERE id = 5")
                assert world.run() == Counts(updated=1)
                late.commit()
            assert world.run() == Counts(updated=1, skipped=1)
            assert world.run() == Counts()
            assert rows(warehouse) == rows(source)
        assert int(_stored(warehouse)) > 2**32
        postgres.age_to(2**32 + 1_000_000)  # the oldest rows' ids seem to be of this round now: they are read again
        with psycopg.connect(world.source_db, autocommit=True) as source:
            source.execute("UPDATE t SET v = 'last' WHERE id = 6")
            counts = world.run()
            assert (counts.inserted, counts.updated) == (0, 1)
            assert counts.skipped >= 44
            assert world.run() == Counts()
            assert rows(warehouse) == rows(source)


def _stored(warehouse: psycopg.Connection) -> str:
    found = watermark(warehouse)
    assert found is not None
    return found[1]
