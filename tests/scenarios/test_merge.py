"""S09 to S11: keys that come twice, keys that are missing, and rows that come late."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, WindowRules
from airflow_etl_sync.errors import DataError
from tests.scenarios.world import FORMS, Form, World, rows, scalar, watermark

SECRET = "Rumpelstilzchen"


@pytest.fixture
def keyless(source: psycopg.Connection, world: World) -> World:
    """A source table without a key of its own: the stream says which columns tell records apart."""
    source.execute("CREATE TABLE t (id bigint, c timestamptz, v text)")
    return world.streaming(primary_key=("id",))


@pytest.mark.scenario("S09")
@pytest.mark.parametrize(
    ("first", "chunk_rows", "form"),
    [(True, 2, "chain"), (True, 7, "one_task"), (True, 1000, "chain"), (False, 7, "chain"), (False, 1000, "one_task")],
)
def test_of_one_key_several_times_the_latest_wins(
    first: bool,
    chunk_rows: int,
    form: Form,
    keyless: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    world = keyless.but(chunk_rows=chunk_rows)
    if not first:
        world.run(form)
        warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = '2000-01-01 00:00:00+00'")
    source.execute("""
        INSERT INTO t
        SELECT key, timestamptz '2024-01-01 00:00+00' + age * interval '1 s', 'age ' || age
        FROM generate_series(1, 5) AS key, generate_series(1, 4) AS age
        ORDER BY key, age % 3 DESC
    """)
    counts = world.run(form)
    assert counts.inserted == 5
    assert counts.processed == 20
    if chunk_rows == 1000:
        assert counts == Counts(inserted=5, skipped=15)
    assert scalar(warehouse, "SELECT array_agg(DISTINCT v)::text FROM t") == '{"age 4"}'


@pytest.mark.scenario("S09")
def test_latest_wins_goes_by_its_own_field_within_a_batch_too(
    keyless: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t ADD version integer")
    source.execute("INSERT INTO t VALUES (1, '2024-01-02', 'old', 1), (1, '2024-01-01', 'new', 2)")
    keyless.but(load_rules=LoadRules(conflict="latest_wins", conflict_field="version")).run()
    assert scalar(warehouse, "SELECT v FROM t") == "new"


@pytest.mark.scenario("S09")
@pytest.mark.parametrize("form", FORMS)
def test_a_retry_in_the_midst_of_one_key_s_rows_loses_none_of_them(
    form: Form, keyless: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("""
        INSERT INTO t
        SELECT 1, timestamptz '2024-01-01 00:00+00' + age * interval '1 s', 'age ' || age
        FROM generate_series(1, 25) AS age
    """)
    world = keyless.but(chunk_rows=10)
    step = "sync" if form == "one_task" else "extract"
    world.run_killed(step, "after state.ledger:record_extracted 3", "again")
    world.run(form, run="again")
    assert scalar(warehouse, "SELECT v FROM t") == "age 25"


@pytest.mark.scenario("S10")
@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_a_key_fails_the_run_and_changes_nothing(
    form: Form, keyless: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, now() - interval '1 hour', 'good')")
    keyless.run(form)
    before, stored = rows(warehouse), watermark(warehouse)
    source.execute("INSERT INTO t VALUES (NULL, now(), %s), (2, now(), 'good')", [SECRET])
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 rows .* have NULL in their key \(id\)") as failure:
            keyless.run(form)
        assert SECRET not in str(failure.value)
        assert not failure.value.is_retryable
        assert (rows(warehouse), watermark(warehouse)) == (before, stored)
    source.execute("UPDATE t SET id = 3 WHERE id IS NULL")
    assert keyless.run(form).inserted == 2
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S10")
def test_a_row_that_breaks_a_rule_of_the_target_is_not_told(
    keyless: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text CHECK (v <> 'Rumpelstilzchen'))")
    source.execute("INSERT INTO t VALUES (1, now(), %s)", [SECRET])
    with pytest.raises(DataError) as failure:
        keyless.run()
    assert SECRET not in str(failure.value)
    assert rows(warehouse) == []


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("form", FORMS)
def test_replaying_an_old_window_changes_nothing(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, '2024-01-01', 'old' FROM generate_series(1, 100) AS i")
    world = world.but(load_rules=LoadRules(conflict="latest_wins"))
    old = world.but(rules=WindowRules(range_start="2023-01-01", range_end="2024-06-01"))
    old.run(form)
    warehouse.execute("UPDATE t SET c = '2024-07-01', v = 'new' WHERE id <= 60")
    before = rows(warehouse, "*, xmin, ctid")
    assert old.run(form) == Counts(skipped=100)
    assert rows(warehouse, "*, xmin, ctid") == before


@pytest.mark.scenario("S11")
def test_an_extraction_that_is_loaded_late_changes_nothing_newer(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, '2024-01-01', 'old' FROM generate_series(1, 100) AS i")
    world = world.but(load_rules=LoadRules(conflict="latest_wins"))
    old = world.but(rules=WindowRules(range_start="2023-01-01")).extract()
    source.execute("UPDATE t SET c = '2024-02-01', v = 'new'")
    world.run()
    before = rows(warehouse)
    assert world.load(old) == Counts(skipped=100)
    assert rows(warehouse) == before == rows(source)
