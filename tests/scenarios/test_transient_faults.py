"""S24: a try that a fault ends may be made again, and then succeeds with exact rows and counts.

Every fault is a real one, made in a server. The next try is that of the same task, as Airflow makes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airflow_etl_sync.core.model import Counts, Extraction, TableName
from airflow_etl_sync.errors import DestinationError, SourceError
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar, watermark

pytestmark = pytest.mark.scenario("S24")

RUN = "the run that meets a fault"
ROWS = 40_000
TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL, v text)"
FILL = f"INSERT INTO t SELECT i, now() - interval '1 hour', repeat('x', 500) FROM generate_series(1, {ROWS}) AS i"
CUT = """
SELECT count(pg_terminate_backend(pid, 5000))
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY%' AND state = 'active'
"""
WAITS_FOR_READERS = """
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event LIKE 'RecoveryConflict%'
"""

Strike = Callable[[], None]


@dataclass
class StruckWorld(World):
    """A world in which something happens while rows are written, once."""

    strike: Strike | None = None
    is_staged: bool = False

    @property
    def destination(self) -> PostgresDestination:
        return _StruckDestination(self)


class _StruckDestination(PostgresDestination):
    def __init__(self, world: StruckWorld) -> None:
        super().__init__(PostgresAccess(world.warehouse_db), TableName("t"))
        self._world = world

    def stage(self, name: str, schema: Any, batches: Iterable[Any]) -> StagedChunk:
        if self._world.is_staged:
            staged = super().stage(name, schema, batches)
            self._strike()
            return staged
        return super().stage(name, schema, self._struck(batches))

    def _struck(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch
            self._strike()

    def _strike(self) -> None:
        strike, self._world.strike = self._world.strike, None
        if strike:
            strike()


class StruckSource(Counted):
    """A source beside which something happens once, behind some batches.

    :param after: behind so many batches; the first is empty
    """

    def __init__(self, world: World, strike: Strike, after: int = 3) -> None:
        super().__init__(world)
        self._strike, self._after = strike, after

    def read(self, window: Any, after: Any) -> Generator[Any]:
        for number, batch in enumerate(super().read(window, after), start=1):
            yield batch
            if number == self._after:
                self._strike()


def cut(conninfo: str) -> Strike:
    def strike() -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            assert scalar(connection, CUT) == 1

    return strike


@pytest.fixture
def filled(source_db: str, warehouse_db: str, source: psycopg.Connection, tmp_path: Path) -> StruckWorld:
    source.execute(TABLE)
    source.execute(FILL)
    return StruckWorld(source_db, warehouse_db, tmp_path / "staging", chunk_rows=7_000)


def assert_the_next_try_succeeds(world: World, form: Form, extraction: Extraction | None = None) -> None:
    """Run the task again, or only its load where its extract had succeeded: rows, watermark and counts are right."""
    if extraction is None:
        assert world.run(form, RUN) == Counts(inserted=ROWS)
    else:
        assert world.load(extraction, try_number=2) == Counts(inserted=ROWS)
        world.advance(extraction)
    with psycopg.connect(world.source_db) as source, psycopg.connect(world.warehouse_db) as warehouse:
        assert rows(warehouse) == rows(source)
        assert watermark(warehouse)
        found = warehouse.execute("SELECT inserted, updated, skipped, errors FROM etl_sync.sync_run").fetchall()
        assert found == [(ROWS, 0, 0, 0)]


# -- the connection is cut --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_cut_in_copy_while_reading(form: Form, filled: StruckWorld) -> None:
    with pytest.raises(SourceError) as caught:
        filled.run(form, RUN, StruckSource(filled, cut(filled.source_db)))
    assert caught.value.is_retryable
    with psycopg.connect(filled.warehouse_db) as warehouse:
        assert scalar(warehouse, "SELECT count(*) FROM etl_sync.extracted_chunk"), "the next try goes on after these"
    assert_the_next_try_succeeds(filled, form)


@pytest.mark.parametrize("form", FORMS)
def test_cut_in_copy_while_writing(form: Form, filled: StruckWorld) -> None:
    world = filled.but(chunk_rows=20_000, strike=cut(filled.warehouse_db))
    extraction = world.extract(RUN) if form == "chain" else None
    with pytest.raises(DestinationError) as caught:
        world.load(extraction) if extraction else world.sync(RUN)
    assert caught.value.is_retryable
    assert_the_next_try_succeeds(world, form, extraction)


# -- others hold what is needed ---------------------------------------------------------------------------


@contextmanager
def holding(conninfo: str, statement: str) -> Iterator[psycopg.Connection]:
    """A transaction that has run the statement, and rolls back in the end; it is never a deadlock's victim."""
    with psycopg.connect(conninfo, options="-c deadlock_timeout=10min") as connection:
        connection.execute(statement)
        yield connection
        connection.rollback()


def wait_until_blocked(conninfo: str, future: Any) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while not scalar(connection, query):
            assert not future.done(), future.result()
            time.sleep(0.01)


@pytest.fixture
def changed(world: World, source: psycopg.Connection) -> World:
    """A table of 1,000 rows that has been synced once, and then all changed."""
    source.execute(TABLE)
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', 'old' FROM generate_series(1, 1000) AS i")
    world.run()
    source.execute("UPDATE t SET v = 'new', c = now()")
    return world


@pytest.mark.parametrize("form", FORMS)
def test_deadlock_with_another_upsert(
    form: Form, changed: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with ThreadPoolExecutor(1) as pool, holding(changed.warehouse_db, "UPDATE t SET v = 'x' WHERE id = 900") as other:
        run = pool.submit(changed.run, form, RUN)
        wait_until_blocked(changed.warehouse_db, run)
        other.execute("UPDATE t SET v = 'x' WHERE id = 100")
        other.commit()
        with pytest.raises(DestinationError, match="deadlock detected") as caught:
            run.result()
    assert caught.value.is_retryable and caught.value.sqlstate == "40P01"
    assert changed.run(form, RUN) == Counts(updated=1000)
    assert rows(warehouse) == rows(source)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("setting", "sqlstate"), [("statement_timeout", "57014"), ("lock_timeout", "55P03")])
def test_timeouts_of_the_destination(
    setting: str, sqlstate: str, form: Form, changed: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    name = warehouse.info.dbname
    with holding(changed.warehouse_db, "UPDATE t SET v = 'x' WHERE id = 900"):
        warehouse.execute(f"ALTER DATABASE {name} SET {setting} = '1s'")
        with pytest.raises(DestinationError) as caught:
            changed.run(form, RUN)
    assert caught.value.is_retryable and caught.value.sqlstate == sqlstate
    assert changed.run(form, RUN) == Counts(updated=1000)
    assert rows(warehouse) == rows(source)


def test_lock_timeout_of_the_source(changed: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute(f"ALTER DATABASE {source.info.dbname} SET lock_timeout = '100ms'")
    with (
        holding(changed.source_db, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(SourceError, match="lock timeout") as caught,
    ):
        changed.run("chain", RUN)
    assert caught.value.is_retryable and caught.value.sqlstate == "55P03"
    assert changed.run("chain", RUN) == Counts(updated=1000)


@pytest.mark.parametrize("form", FORMS)
def test_statement_timeout_of_the_source_in_copy(form: Form, filled: StruckWorld, source: psycopg.Connection) -> None:
    name = source.info.dbname
    source.execute(f"ALTER DATABASE {name} SET statement_timeout = '1s'")
    with pytest.raises(SourceError, match="canceling statement due to statement timeout") as caught:
        filled.run(form, RUN, StruckSource(filled, lambda: time.sleep(1.5), after=2))
    assert caught.value.is_retryable and caught.value.sqlstate == "57014"
    source.execute(f"ALTER DATABASE {name} RESET statement_timeout")
    assert_the_next_try_succeeds(filled, form)


# -- the server goes --------------------------------------------------------------------------------------


@pytest.fixture
def doomed_world(doomed_db: str, warehouse_db: str, tmp_path: Path) -> StruckWorld:
    """A world whose source may crash."""
    with psycopg.connect(doomed_db, autocommit=True) as source:
        source.execute(TABLE)
        source.execute(FILL)
    return StruckWorld(doomed_db, warehouse_db, tmp_path / "staging", chunk_rows=7_000)


@pytest.fixture
def crashed(mortal: MortalPostgres) -> Strike:
    def strike() -> None:
        mortal.crash()
        mortal.restart()

    return strike


@pytest.mark.parametrize("form", FORMS)
def test_the_source_crashes_in_copy(form: Form, doomed_world: StruckWorld, crashed: Strike) -> None:
    with pytest.raises(SourceError) as caught:
        doomed_world.run(form, RUN, StruckSource(doomed_world, crashed))
    assert caught.value.is_retryable
    assert_the_next_try_succeeds(doomed_world, form)


@pytest.mark.parametrize("is_staged", [False, True], ids=["in COPY", "between COPY and merge"])
@pytest.mark.parametrize("form", FORMS)
def test_the_destination_crashes_and_loses_its_staging(
    form: Form, is_staged: bool, filled: StruckWorld, doomed_db: str, crashed: Strike
) -> None:
    world = filled.but(warehouse_db=doomed_db, chunk_rows=20_000, strike=crashed, is_staged=is_staged)
    extraction = world.extract(RUN) if form == "chain" else None
    with pytest.raises(DestinationError, match="lost its unlogged tables" if is_staged else None) as caught:
        world.load(extraction) if extraction else world.sync(RUN)
    assert caught.value.is_retryable
    assert_the_next_try_succeeds(world, form, extraction)


def test_a_replica_that_cancels_the_reading(mortal: MortalPostgres, doomed_world: StruckWorld) -> None:
    def conflict() -> None:
        """Let the standby replay that a row is gone which its readers, for all it knows, still see."""
        with (
            psycopg.connect(doomed_world.source_db, autocommit=True) as primary,
            psycopg.connect(standby, autocommit=True) as observer,
        ):
            primary.execute("INSERT INTO t VALUES (-1, now())")
            primary.execute("DELETE FROM t WHERE id = -1")
            primary.execute("VACUUM t")
            deadline = time.monotonic() + 5
            while not scalar(observer, WAITS_FOR_READERS) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(1)  # after which the standby waits no longer

    with mortal.standby() as standby:
        world = doomed_world.but(source_db=make_conninfo(standby, dbname="doomed"))
        with pytest.raises(SourceError, match="conflict with recovery") as caught:
            world.run("one_task", RUN, StruckSource(world, conflict, after=2))
        assert caught.value.is_retryable and caught.value.sqlstate == "40001"
        assert_the_next_try_succeeds(world, "one_task")
