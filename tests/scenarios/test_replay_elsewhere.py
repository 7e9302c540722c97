"""S17 in a destination away from the state tables: replays that die between the two commits, or meet a newer row."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity
from airflow_etl_sync.errors import ConfigurationError, DestinationError, StateError
from airflow_etl_sync.journey import failed_records
from airflow_etl_sync.systems.base import Destination, Merged
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.contract.systems import DuckDbSystem, MariaDbSystem, SqliteSystem
from tests.mariadb import new_mariadb
from tests.scenarios.journeys_elsewhere import Dying, Journeys

pytestmark = pytest.mark.scenario("S17")
ROWS = 10
MADE = "CREATE TABLE t (id integer PRIMARY KEY, v {})"
MENDED = ("ALTER TABLE t RENAME TO old", MADE.format("varchar(9) NOT NULL"), "INSERT INTO t SELECT id, v FROM old")
REFUSING = {
    MariaDbSystem: "varchar(9) NOT NULL CHECK (v <> 'bad')",
    SqliteSystem: "varchar(9) NOT NULL CHECK (v <> 'bad')",
    DuckDbSystem: "integer NOT NULL",
}
"""The column that refuses two rows."""
REPLAY = RunIdentity("page", "replay", "r")


@pytest.fixture(params=["mariadb", "sqlite", "duckdb"])
def elsewhere(request: pytest.FixtureRequest, new_database: Any, tmp_path: Path) -> Iterator[Any]:
    state = new_database("state")
    if request.param == "sqlite":
        yield SqliteSystem(tmp_path / "warehouse.db", state)
    elif request.param == "duckdb":
        yield DuckDbSystem(tmp_path / "warehouse.duckdb", state)
    else:
        with new_mariadb() as database:
            yield MariaDbSystem(database, state)


@pytest.fixture(params=["chain", "one_task"])
def failing(
    request: pytest.FixtureRequest, source: psycopg.Connection, source_db: str, elsewhere: Any, tmp_path: Path
) -> Journeys:
    """Ten rows, of which the table refuses two."""
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL)")
    source.execute(
        "INSERT INTO t SELECT n, CASE WHEN n IN (3, 4) THEN 'bad' ELSE '1' END FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    elsewhere.execute(MADE.format(REFUSING[type(elsewhere)]))
    journeys = Journeys(source_db, elsewhere, tmp_path / "staging", request.param)
    journeys.rules = LoadRules(max_errors=2)
    assert journeys.go("first") == Counts(inserted=ROWS - 2, errors=2)
    return journeys


def replayed(journeys: Journeys, destination: Destination | None = None) -> Counts:
    engine = PostgresAccess(journeys.system.state).engine()
    into = destination or journeys.destination()
    return failed_records.replay_all(lambda _: into, engine, "s", REPLAY)


def asked(journeys: Journeys, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(journeys.system.state) as connection:
        return connection.execute(query).fetchall()


def closed(journeys: Journeys) -> list[tuple[Any, ...]]:
    return asked(journeys, "SELECT key ->> 0, closed_by, failures FROM etl_sync.failed_record ORDER BY 1")


def replays(journeys: Journeys) -> list[tuple[Any, ...]]:
    query = "SELECT status, inserted, updated, skipped, errors FROM etl_sync.sync_run WHERE kind = 'replay' ORDER BY "
    return asked(journeys, query + "started_at")


def test_a_replay_that_dies_between_the_two_commits_is_finished_by_the_next(failing: Journeys) -> None:
    failing.system.execute(*MENDED)
    with pytest.raises(DestinationError, match="the worker was lost"):
        replayed(failing, Dying(failing.destination(), 1))
    assert failing.system.rows("t")[2:4] == [(3, "bad"), (4, "bad")]
    assert closed(failing) == [("3", None, 1), ("4", None, 1)]
    assert replayed(failing) == Counts(inserted=2), "what has landed is counted as what it was, and not loaded again"
    assert closed(failing) == [("3", "replay", 1), ("4", "replay", 1)]
    assert replays(failing) == [("done", 2, 0, 0, 0)]
    assert replayed(failing) == Counts()
    assert replays(failing) == [("done", 2, 0, 0, 0)]


def test_what_failed_again_in_a_replay_that_died_stays_open(failing: Journeys) -> None:
    with pytest.raises(DestinationError, match="the worker was lost"):
        replayed(failing, Dying(failing.destination(), 1))
    assert closed(failing) == [("3", None, 1), ("4", None, 1)]
    assert replayed(failing) == Counts(errors=2)
    assert closed(failing) == [("3", None, 2), ("4", None, 2)]
    assert replayed(failing) == Counts(errors=2)
    assert closed(failing) == [("3", None, 3), ("4", None, 3)]


def test_a_record_that_fails_anew_is_not_closed_by_a_replay_that_died_before(failing: Journeys) -> None:
    failing.system.execute(*MENDED)
    with pytest.raises(DestinationError, match="the worker was lost"):
        replayed(failing, Dying(failing.destination(), 1))
    with psycopg.connect(failing.system.state) as connection:  # as a run that met the longer value would
        connection.execute("""
            UPDATE etl_sync.failed_record
            SET failures = 2, payload = jsonb_set(payload::jsonb, '{v}', '"longer"')::json
            WHERE key ->> 0 = '3'
        """)
        connection.execute(
            "UPDATE etl_sync.failed_record SET closed_at = now(), closed_by = 'newer row' WHERE key ->> 0 = '4'"
        )
    assert replayed(failing) == Counts(inserted=2, updated=1)
    assert failing.system.rows("t")[2] == (3, "longer")
    assert closed(failing) == [("3", "replay", 2), ("4", "newer row", 1)]


def test_an_old_payload_never_replaces_a_newer_row_that_the_state_does_not_know_of(
    failing: Journeys, source: psycopg.Connection
) -> None:
    failing.system.execute(*MENDED)
    source.execute("UPDATE t SET v = '7' WHERE id IN (3, 4)")
    extraction = failing.extract("second") if failing.form == "chain" else None
    with pytest.raises(DestinationError, match="the worker was lost"):
        failing.go("second", Dying(failing.destination(), 2), extraction)
    newer = [row[0] for row in failing.system.rows("t") if row[1] == "7"]
    assert newer, "it has landed"
    with pytest.raises(StateError, match="not noted in the state tables") as refused:
        replayed(failing)
    assert refused.value.is_retryable and replays(failing) == []
    failing.go("second", None, extraction)
    assert replayed(failing) == Counts()
    assert failing.system.rows("t")[2:4] == [(3, "7"), (4, "7")]
    assert {by for _, by, _ in closed(failing)} == {"newer row"}


def test_a_replay_waits_for_a_merge_that_brings_a_newer_row(failing: Journeys, source: psycopg.Connection) -> None:
    failing.system.execute(*MENDED)
    source.execute("UPDATE t SET v = '7' WHERE id IN (3, 4)")
    merging, nothing = Event(), Event()

    class Slow(Dying):
        def merge(self, *arguments: Any) -> Merged:
            merging.set()
            nothing.wait(1)
            return super().merge(*arguments)

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(failing.go, "second", Slow(failing.destination(), 0))
        assert merging.wait(30)
        replaying = pool.submit(replayed, failing)
        running.result()
        replaying.exception()
    assert failing.system.rows("t")[2:4] == [(3, "7"), (4, "7")]
    assert {by for _, by, _ in closed(failing)} == {"newer row"}


def test_a_table_that_is_not_there_is_not_made_of_failed_records(failing: Journeys) -> None:
    failing.system.execute("DROP TABLE t")
    with pytest.raises(ConfigurationError, match="There is no table"):
        replayed(failing)
    assert failing.destination().types() == {}  # type: ignore[attr-defined]
    assert closed(failing) == [("3", None, 1), ("4", None, 1)] and replays(failing) == []
