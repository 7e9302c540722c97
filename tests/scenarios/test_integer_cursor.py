"""S21: an id is drawn before it is seen; one that is seen late is not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.demo.postgres import Databases, EmbeddedPostgres
from airflow_etl_sync.systems.postgres import windows
from tests.scenarios.world import FORMS, Form, World, rows, scalar, transaction, watermark

TABLE = "CREATE TABLE t (c bigserial PRIMARY KEY, v text)"
INSERT = "INSERT INTO t (v) VALUES ('x')"


@pytest.mark.scenario("S21")
@pytest.mark.parametrize("form", FORMS)
def test_an_id_taken_by_a_transaction_that_commits_late_is_not_lost(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLE)
    with transaction(world.source_db, INSERT) as late:
        source.execute(INSERT)
        assert world.run(form) == Counts(inserted=1)
        source.execute(INSERT)
        assert world.run(form) == Counts(inserted=1, skipped=1)
        late.commit()
    assert world.run(form) == Counts(inserted=1, skipped=2)
    assert rows(warehouse) == rows(source)
    assert watermark(warehouse) == ("integer", "3")
    assert world.run(form) == Counts(skipped=1)


@pytest.mark.scenario("S21")
def test_a_session_that_holds_an_id_and_has_written_nothing_is_waited_for(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLE)
    with transaction(world.source_db) as late:
        drawn = scalar(late, "SELECT nextval('t_c_seq')")
        source.execute(INSERT)
        world.run()
        late.execute("INSERT INTO t VALUES (%s)", [drawn])
        late.commit()
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S21")
def test_one_late_transaction_outlives_more_runs_than_fences_are_kept(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_FENCES_KEPT", 3)
    source.execute(TABLE)
    with transaction(world.source_db, INSERT) as late:
        for _ in range(6):
            source.execute(INSERT)
            world.run()
        late.commit()
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S21")
def test_a_busy_source_does_not_hold_the_watermark_for_ever(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """There is always a transaction in flight, but never one for long: each maximum waits for its own only."""
    source.execute(TABLE)
    source.execute(INSERT)
    with transaction(world.source_db, INSERT) as first:
        world.run()
        with transaction(world.source_db, INSERT) as second:
            first.commit()
            world.run()
            assert watermark(warehouse) == ("integer", "1")
            with transaction(world.source_db, INSERT):
                second.commit()
                world.run()
                assert watermark(warehouse) == ("integer", "2")
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S21")
def test_the_watermark_stays_while_a_session_hides_its_transactions(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLE)
    with transaction(world.source_db, "SET track_activities = off", INSERT) as late:
        source.execute(INSERT)
        assert "track_activities" in world.sync().window.protection
        late.commit()
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.fixture(scope="module")
def preparing(server: Databases) -> Iterator[Databases]:
    """A server that can prepare transactions: the tests' own one where it can."""
    with psycopg.connect(server.admin) as connection:
        can_prepare = scalar(connection, "SELECT current_setting('max_prepared_transactions')::integer > 0")
    if can_prepare:
        yield server
        return
    with EmbeddedPostgres(settings={"max_prepared_transactions": "5"}) as postgres:
        yield postgres.databases


@pytest.fixture
def prepared_world(preparing: Databases, world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    name = f"prepared_{abs(hash(request.node.name))}"
    yield world.but(source_db=preparing.create_database(name))
    preparing.drop_database(name)


def _cursor_table(cursor: str) -> str:
    return (
        TABLE if cursor == "bigint" else "CREATE TABLE t (id serial PRIMARY KEY, v text, c timestamptz DEFAULT now())"
    )


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("bigint", marks=pytest.mark.scenario("S21")),
        pytest.param("timestamptz", marks=pytest.mark.scenario("S01")),
    ],
)
@pytest.mark.parametrize("is_prepared_first", [True, False])
def test_a_transaction_prepared_before_or_after_the_window_is_waited_for(
    is_prepared_first: bool, cursor: str, prepared_world: World, warehouse: psycopg.Connection
) -> None:
    world = prepared_world
    with (
        psycopg.connect(world.source_db, autocommit=True) as source,
        psycopg.connect(world.source_db, autocommit=True) as late,
    ):
        source.execute(_cursor_table(cursor))

        def prepare() -> None:
            late.execute("PREPARE TRANSACTION 'late'")

        moments: list[Callable[[], object]] = [prepare, world.run] if is_prepared_first else [world.run, prepare]
        late.execute("BEGIN")
        late.execute(INSERT)
        source.execute("SELECT pg_sleep(0.1)")
        source.execute(INSERT)
        source.execute("SELECT pg_sleep(0.1)")
        for moment in moments:
            moment()
        source.execute(INSERT)
        source.execute("SELECT pg_sleep(0.1)")
        world.run()
        late.execute("COMMIT PREPARED 'late'")
        world.run()
        assert rows(warehouse) == rows(source)
