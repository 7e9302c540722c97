"""S17, S10: rows that cannot be loaded are set aside, the others arrive, and nothing is lost on the way."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, WindowRules
from airflow_etl_sync.errors import DataError
from tests.scenarios.world import FORMS, Form, World, rows, scalar, transaction, watermark

pytestmark = pytest.mark.scenario("S17")

ROWS = 10_000
BAD = {17, 5_000, 9_999}
POISON = "Rumpelstilzchen"
TARGET = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, n integer, v text CHECK (v <> 'Rumpelstilzchen'))"


@pytest.fixture
def poisoned(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> World:
    """Ten thousand rows, three of which the target refuses."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL, n text, v text)")
    source.execute(
        "INSERT INTO t SELECT i, now() - interval '1 hour', i, 'v ' || i FROM generate_series(1, %s) AS i", [ROWS]
    )
    warehouse.execute(TARGET)
    return world.but(load_rules=LoadRules(max_errors=3), chunk_rows=4_000)


def poison(source: psycopg.Connection) -> None:
    source.execute("UPDATE t SET v = %s WHERE id IN (17, 9999)", [POISON])
    source.execute("UPDATE t SET n = 'no number' WHERE id = 5000")


def failed(warehouse: psycopg.Connection) -> list[tuple[object, ...]]:
    query = """
        SELECT key ->> 0, sqlstate, payload ->> 'v', payload ->> 'n', failures, closed_by
        FROM etl_sync.failed_record
        ORDER BY id
    """
    return warehouse.execute(query).fetchall()


@pytest.mark.parametrize("form", FORMS)
def test_bad_rows_are_stored_and_all_others_arrive(
    form: Form,
    poisoned: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    poison(source)
    with caplog.at_level(logging.DEBUG):
        assert poisoned.run(form) == Counts(inserted=ROWS - 3, errors=3)

    ids = {row[0] for row in warehouse.execute("SELECT id FROM t")}
    assert ids == set(range(1, ROWS + 1)) - BAD
    assert sorted(failed(warehouse)) == [
        ("17", "23514", POISON, "17", 1, None),
        ("5000", "22P02", "v 5000", "no number", 1, None),
        ("9999", "23514", POISON, "9999", 1, None),
    ]
    assert POISON not in caplog.text
    assert "no number" not in caplog.text
    assert "1 rows for t could not be loaded (22P02: 1): kept as failed records" in caplog.text
    assert watermark(warehouse) is not None
    assert scalar(warehouse, "SELECT errors FROM etl_sync.sync_run") == 3


@pytest.mark.parametrize("form", FORMS)
def test_one_bad_row_more_than_allowed_ends_the_run(
    form: Form, poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    poison(source)
    few = poisoned.but(load_rules=LoadRules(max_errors=2))
    with pytest.raises(DataError, match=r"a row breaks a rule of its table.* allow more failed records"):
        few.run(form)
    assert scalar(warehouse, "SELECT max(id) FROM t") == 8_000, "the chunks before stay"
    assert len(failed(warehouse)) == 2
    assert watermark(warehouse) is None


def test_without_leave_the_first_bad_row_ends_the_run(
    poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    poison(source)
    with pytest.raises(DataError, match="allow more failed records") as caught:
        poisoned.but(load_rules=LoadRules()).run()
    assert POISON not in str(caught.value)
    assert rows(warehouse) == [] == failed(warehouse)


def test_the_limit_may_be_a_share_of_the_rows(
    poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    poison(source)
    with pytest.raises(DataError, match=r"3 rows of one chunk for 't' cannot be loaded .*, and only 2 more"):
        poisoned.but(load_rules=LoadRules(max_error_percent=0.02), chunk_rows=ROWS).run()
    assert poisoned.but(load_rules=LoadRules(max_error_percent=0.05)).run().errors == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_fails_again_is_one_record_and_a_mended_one_closes_it(
    form: Form, poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    poison(source)
    poisoned.run(form)
    source.execute("UPDATE t SET c = now(), n = 'still none' WHERE id = 5000")
    source.execute("UPDATE t SET c = now(), v = 'mended' WHERE id = 17")
    assert poisoned.run(form) == Counts(inserted=1, errors=1)
    by_key = {row[0]: row[1:] for row in failed(warehouse)}
    assert by_key["5000"] == ("22P02", "v 5000", "still none", 2, None)
    assert by_key["17"] == ("23514", POISON, "17", 1, "newer row")
    assert by_key["9999"][-1] is None
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 17") == "mended"


@pytest.mark.parametrize("form", FORMS)
def test_of_a_key_s_rows_the_newest_that_can_be_loaded_is(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint, c timestamptz, n text, v text)")
    warehouse.execute(TARGET)
    source.execute("""
        INSERT INTO t
        VALUES (1, '2024-01-01', 1, 'old'), (1, '2024-01-02', 2, 'good'), (1, '2024-01-03', 3, 'Rumpelstilzchen')
    """)
    world = world.streaming(primary_key=("id",)).but(load_rules=LoadRules(max_errors=1))
    assert world.run(form) == Counts(inserted=1, skipped=1, errors=1)
    assert warehouse.execute("SELECT n, v FROM t").fetchall() == [(2, "good")]
    assert failed(warehouse) == [("1", "23514", POISON, "3", 1, None)]


@pytest.mark.parametrize("form", FORMS)
def test_of_a_key_s_rows_that_all_fail_the_newest_is_kept(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint, c timestamptz, n text, v text)")
    warehouse.execute(TARGET)
    source.execute("INSERT INTO t VALUES (1, '2024-01-01', 1, %s), (1, '2024-01-02', 2, %s)", [POISON, POISON])
    world = world.streaming(primary_key=("id",)).but(load_rules=LoadRules(max_errors=2))
    assert world.run(form) == Counts(errors=2)
    assert failed(warehouse) == [("1", "23514", POISON, "2", 2, None)]


def test_two_runs_that_set_the_same_row_aside_at_once_keep_one_record(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, n text, v text)")
    source.execute("INSERT INTO t VALUES (1, '2024-01-01', 'none', 'v')")
    warehouse.execute(TARGET)
    world = world.but(load_rules=LoadRules(max_errors=1))
    live, past = world.extract(), world.but(rules=WindowRules(range_start="2023-01-01")).extract()
    with ThreadPoolExecutor(2) as pool, transaction(warehouse_db, "LOCK TABLE etl_sync.failed_record IN SHARE MODE"):
        loads = [pool.submit(world.load, extraction) for extraction in (live, past)]
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while scalar(warehouse, waiting) < 2:
            time.sleep(0.01)
    assert [load.result() for load in loads] == [Counts(errors=1)] * 2
    assert failed(warehouse) == [("1", "22P02", "v", "none", 2, None)]


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_need_each_other_find_each_other_beside_a_bad_one(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    ddl = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, boss bigint{}, v text)"
    source.execute(ddl.format(""))
    warehouse.execute(ddl.format(" REFERENCES t") + "; ALTER TABLE t ADD CHECK (v <> 'Rumpelstilzchen')")
    source.execute("INSERT INTO t SELECT i, '2024-01-01', least(i + 1, 100), 'v' FROM generate_series(1, 100) AS i")
    source.execute("INSERT INTO t VALUES (50000, '2024-01-01', 1, 'Rumpelstilzchen'), (101, '2024-01-01', 77777, 'v')")
    assert world.but(load_rules=LoadRules(max_errors=2)).run(form) == Counts(inserted=100, errors=2)
    assert {row[:2] for row in failed(warehouse)} == {("50000", "23514"), ("101", "23503")}


@pytest.mark.scenario("S10")
@pytest.mark.parametrize("form", FORMS)
def test_rows_without_a_key_are_failed_records_and_no_new_rows_every_run(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint, c timestamptz, n text, v text)")
    source.execute("INSERT INTO t VALUES (1, '2024-01-01', 1, 'good'), (NULL, NULL, 2, 'a'), (NULL, NULL, 3, 'b')")
    world = world.streaming(primary_key=("id",)).but(load_rules=LoadRules(max_errors=2))
    assert world.run(form) == Counts(inserted=1, errors=2)
    assert world.run(form).errors == 2
    assert failed(warehouse) == [(None, None, "a", "2", 2, None), (None, None, "b", "3", 2, None)]
    assert scalar(warehouse, "SELECT count(*) FROM t") == 1


def test_a_killed_load_leaves_no_record_of_what_was_not_committed(
    poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    poison(source)
    extraction = poisoned.extract()
    poisoned.run_killed("load", "before state.schema_changes:record 2", "x", extraction)
    assert len(failed(warehouse)) == 1, "only that of the first chunk"
    counts = poisoned.load(extraction)
    assert counts == Counts(inserted=ROWS - 3, errors=3)
    assert len(failed(warehouse)) == 3


def test_most_rows_bad_is_told_in_bounded_time(
    poisoned: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = %s WHERE id > 10", [POISON])
    with pytest.raises(DataError, match=r"More than \d{4} rows .* cannot be loaded"):
        poisoned.run()
    assert rows(warehouse) == [] == failed(warehouse)


def test_an_odd_name_is_only_a_name(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    ddl = 'CREATE TABLE t ("100% s" bigint PRIMARY KEY, c timestamptz, "%(x)s" integer)'
    source.execute(ddl.replace("integer", "text"))
    warehouse.execute(ddl)
    source.execute("INSERT INTO t VALUES (1, '2024-01-01', '1'), (2, '2024-01-01', 'none')")
    world = world.but(load_rules=LoadRules(max_errors=1))
    assert world.run() == Counts(inserted=1, errors=1)
    source.execute("""UPDATE t SET "%%(x)s" = '2', c = now() WHERE "100%% s" = 2""", [])
    assert world.run().inserted == 1
    assert scalar(warehouse, "SELECT closed_by FROM etl_sync.failed_record") == "newer row"
