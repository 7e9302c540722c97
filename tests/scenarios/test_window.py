"""S01 to S04, S08: the window loses nothing, whatever commits when."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from tests.scenarios.world import FORMS, Form, Interrupted, World, rows, scalar, transaction, watermark


@pytest.fixture(autouse=True)
def table(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), v text)")


def past_the_margin(source: psycopg.Connection) -> None:
    """Wait until what was just committed is older than the cap's margin."""
    source.execute("SELECT pg_sleep(0.1)")


@pytest.mark.scenario("S01")
@pytest.mark.parametrize("form", FORMS)
def test_a_transaction_that_commits_late_is_not_lost(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with transaction(world.source_db, "INSERT INTO t VALUES (1)") as late:
        past_the_margin(source)
        source.execute("INSERT INTO t VALUES (2)")
        past_the_margin(source)
        assert world.run(form) == Counts(inserted=1)
        late.commit()
    past_the_margin(source)
    world.run(form)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S01")
def test_a_transaction_that_has_not_written_yet_may_still_do_so(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with transaction(world.source_db, "SELECT now()") as late:
        past_the_margin(source)
        source.execute("INSERT INTO t VALUES (2)")
        past_the_margin(source)
        world.run()
        late.execute("INSERT INTO t VALUES (1)")
        late.commit()
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S01")
def test_a_long_transaction_delays_no_data_and_is_waited_for_however_long(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with transaction(world.source_db, "INSERT INTO t VALUES (1)") as late:
        past_the_margin(source)
        for row in range(2, 5):
            source.execute("INSERT INTO t VALUES (%s)", [row])
            assert world.run() == Counts(inserted=1, skipped=row - 2)
            assert rows(warehouse) == rows(source)
        late.commit()
    assert world.run() == Counts(inserted=1, skipped=3)


@pytest.mark.scenario("S01")
def test_a_login_that_cannot_see_others_says_so_and_lag_protects(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    role = f"reader_{scalar(source, 'SELECT current_database()')}"
    source.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    try:
        source.execute(f"GRANT SELECT ON t TO {role}")
        login = psycopg.conninfo.make_conninfo(world.source_db, user=role, password="reader")
        source.execute("INSERT INTO t VALUES (1)")
        report = world.but(source_db=login).sync()
        assert "lag" in report.window.protection
        assert "pg_read_all_stats" in report.window.protection
    finally:
        source.execute(f"REVOKE SELECT ON t FROM {role}")
        source.execute(f"DROP ROLE {role}")


@pytest.mark.scenario("S01")
def test_the_watermark_stays_while_a_session_hides_its_transactions(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with transaction(world.source_db, "SET track_activities = off", "INSERT INTO t VALUES (1)") as late:
        past_the_margin(source)
        source.execute("INSERT INTO t VALUES (2)")
        past_the_margin(source)
        world.run()
        late.commit()
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S02")
@pytest.mark.parametrize("form", FORMS)
def test_a_row_committed_between_the_bound_and_the_read_arrives(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1)")
    world.run(form, reader=Interrupted(world, "SELECT pg_sleep(0.1)", "INSERT INTO t VALUES (2)"))
    past_the_margin(source)
    world.run(form)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S02")
def test_a_row_committed_after_the_snapshot_arrives_with_the_next_run(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour' FROM generate_series(1, 2000) AS i")
    with transaction(world.source_db, "INSERT INTO t VALUES (9001)") as late:
        extraction = world.extract()
        late.commit()
    past_the_margin(source)
    source.execute("INSERT INTO t VALUES (9002)")
    past_the_margin(source)
    world.load(extraction)
    world.advance(extraction)
    assert world.run() == Counts(inserted=2)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S03")
@pytest.mark.parametrize("form", FORMS)
def test_a_row_with_exactly_the_watermark_s_value_arrives_once(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, '2024-05-06 07:08:09.123456+00')")
    world.run(form)
    stored = watermark(warehouse)
    assert stored is not None
    source.execute("INSERT INTO t VALUES (2, %s), (3, %s::timestamptz - interval '1 microsecond')", [stored[1]] * 2)
    assert world.run(form) == Counts(inserted=1)
    assert world.run(form).inserted == 0
    assert rows(warehouse) == rows(source)[:2]


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [True, False])
def test_ties_over_several_chunks_all_arrive_once(
    first: bool, form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    if not first:
        world.run(form)
    source.execute("INSERT INTO t SELECT i, now() FROM generate_series(1, 2500) AS i")
    assert world.run(form) == Counts(inserted=2500)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S08")
@pytest.mark.parametrize("far", ["2099-01-01", "infinity", "200000-01-01", "now() + '1 hour'"])
def test_a_row_from_the_future_freezes_nothing(
    far: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    value = far if far.startswith("now") else f"'{far}'"
    source.execute(f"INSERT INTO t VALUES (1, {value})")
    assert world.run() == Counts(inserted=1)
    source.execute("INSERT INTO t VALUES (2)")
    assert world.run() == Counts(inserted=1, skipped=1)
    past_the_margin(source)
    world.run()
    assert world.run() == Counts(skipped=1)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S08")
def test_a_retry_finds_its_place_behind_a_chunk_with_infinity(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world.run()
    source.execute("INSERT INTO t SELECT i, now() FROM generate_series(1, 2500) AS i")
    source.execute("INSERT INTO t SELECT i, 'infinity' FROM generate_series(2501, 3500) AS i")
    world.run_killed("sync", "after state.ledger:record_extracted 3", "again")
    assert world.run(run="again") == Counts(inserted=3500)
    assert rows(warehouse) == rows(source)
