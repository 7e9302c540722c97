"""S01, S12, S21 for tables without a cursor column: the transactions that wrote the rows are the cursor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Composed, Literal

from airflow_etl_sync.core.model import Counts, LoadRules, TableName, WindowRules
from airflow_etl_sync.demo.postgres import Databases, EmbeddedPostgres
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.postgres import sql
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar, transaction, watermark

ROWS = 50


@pytest.fixture
def by_xmin(world: World, source: psycopg.Connection) -> World:
    """Fifty rows of a table that has a key and nothing that grows."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    source.execute("INSERT INTO t SELECT i, 'old' FROM generate_series(1, %s) AS i", [ROWS])
    return world.streaming(cursor_field="xmin")


@pytest.mark.scenario("S01")
@pytest.mark.parametrize("form", FORMS)
def test_only_what_was_written_since_travels(
    form: Form, by_xmin: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    assert by_xmin.run(form) == Counts(inserted=ROWS)
    assert by_xmin.run(form) == Counts()
    source.execute("UPDATE t SET v = 'new' WHERE id <= 3")
    source.execute("INSERT INTO t VALUES (100, 'new')")
    assert by_xmin.run(form) == Counts(inserted=1, updated=3)
    assert by_xmin.run(form) == Counts()
    assert rows(warehouse) == rows(source)
    stored = watermark(warehouse)
    assert stored and stored[0] == "xid"


@pytest.mark.scenario("S01")
@pytest.mark.scenario("S21")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("savepoint", [False, True], ids=["plain", "in a savepoint"])
def test_a_transaction_that_commits_late_is_not_lost(
    form: Form,
    savepoint: bool,
    by_xmin: World,
    source_db: str,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    early = ["INSERT INTO t VALUES (200, 'early')", *(["SAVEPOINT s"] if savepoint else [])]
    with transaction(source_db, *early, "UPDATE t SET v = 'late' WHERE id = 7") as late:
        source.execute("UPDATE t SET v = 'soon' WHERE id = 8")
        by_xmin.run(form)
        assert scalar(warehouse, "SELECT v FROM t WHERE id = 8") == "soon"
        source.execute("UPDATE t SET v = 'later' WHERE id = 9")
        by_xmin.run(form)
        late.commit()
    by_xmin.run(form)
    assert rows(warehouse) == rows(source)
    assert by_xmin.run(form) == Counts()


@pytest.mark.scenario("S01")
def test_a_prepared_transaction_is_waited_for(tmp_path: Path) -> None:
    with EmbeddedPostgres(settings={"max_prepared_transactions": "5"}) as postgres:
        source_db, warehouse_db = map(postgres.databases.create_database, ("source", "warehouse"))
        with psycopg.connect(source_db, autocommit=True) as source, psycopg.connect(warehouse_db) as warehouse:
            source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
            world = World(source_db, warehouse_db, tmp_path).streaming(cursor_field="xmin")
            source.execute("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'early'")
            source.execute("INSERT INTO t VALUES (2, 'other')")
            assert world.run() == Counts(inserted=1)
            source.execute("COMMIT PREPARED 'early'")
            assert world.run().inserted == 1
            assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_killed_and_run_again_it_goes_on_after_the_last_chunk(
    form: Form, by_xmin: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = by_xmin.but(chunk_rows=10)
    world.run(form)
    source.execute("UPDATE t SET v = 'new'")
    step = "sync" if form == "one_task" else "extract"
    world.run_killed(step, "after state.ledger:record_extracted 3", "again")
    source.execute("UPDATE t SET v = 'newer' WHERE id IN (5, 45)")
    reader = Counted(world)
    world.run(form, run="again", reader=reader)
    assert reader.rows <= 30
    world.run(form)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S01")
def test_partitions_tell_their_transactions_too(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    source.execute("CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (100)")
    source.execute("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 20) AS i")
    world = world.streaming(cursor_field="xmin")
    assert world.run() == Counts(inserted=20)
    source.execute("UPDATE t SET id = 50 WHERE id = 3")
    assert world.run() == Counts(inserted=1)


WHOLE = 2**32


@pytest.fixture(scope="module")
def asking(server: Databases) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.admin, autocommit=True) as connection:
        yield connection


@settings(max_examples=200, deadline=None)
@given(
    following=st.integers(3, 5 * WHOLE),
    age=st.integers(1, 2**31 - 1) | st.integers(1, 10),
)
@pytest.mark.scenario("S21")
def test_a_young_row_s_transaction_is_told_exactly_around_the_wrap(
    asking: psycopg.Connection, following: int, age: int
) -> None:
    xid = max(following - age, 3)
    expression = sql.window.whole_xid(Literal(following), Literal(str(xid % WHOLE)))
    assert answer(asking, expression) == xid


@settings(max_examples=100, deadline=None)
@given(following=st.integers(3, 5 * WHOLE), raw=st.integers(1, WHOLE - 1))
@pytest.mark.scenario("S21")
def test_no_row_s_transaction_is_put_where_none_has_been(asking: psycopg.Connection, following: int, raw: int) -> None:
    """A frozen row may be read again, since it may be put too high: but never above the next transaction."""
    found = answer(asking, sql.window.whole_xid(Literal(following), Literal(str(raw))))
    assert following - WHOLE < found <= following or following < WHOLE


def answer(asking: psycopg.Connection, expression: Composed) -> int:
    return int(scalar(asking, SQL("SELECT {}").format(expression)))  # type: ignore[arg-type]


def test_a_source_that_was_restored_is_refused_until_the_watermark_is_reset(
    by_xmin: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    by_xmin.run()
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = cursor_value::bigint + 1000000")
    with pytest.raises(ConfigurationError, match="restored or is another server"):
        by_xmin.run()
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = NULL, cursor_type = NULL")
    assert by_xmin.run() == Counts(skipped=ROWS)


def test_what_does_not_go_with_it_is_refused(by_xmin: World, source: psycopg.Connection) -> None:
    source.execute("CREATE VIEW seen AS SELECT * FROM t")
    for rules, said in (
        (WindowRules(lag=5), "lag does not go"),
        (WindowRules(lag=timedelta(minutes=5)), "lag does not go"),
        (WindowRules(initial_value="700"), "initial_value does not go"),
        (WindowRules(range_start="700"), "range_start does not go"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            by_xmin.but(rules=rules).run()
    with pytest.raises(ConfigurationError, match="conflict_field"):
        by_xmin.but(load_rules=LoadRules(conflict="latest_wins")).run()
    for stream in (
        {"table": TableName("seen"), "primary_key": ("id",)},
        {"table": None, "sql": "TABLE t", "primary_key": ("id",)},
    ):
        with pytest.raises(ConfigurationError, match="xmin goes with tables only"):
            by_xmin.streaming(**stream).run()
    with pytest.raises(ConfigurationError, match="own key"):
        by_xmin.streaming(primary_key=("v",)).run()


@pytest.mark.parametrize("form", FORMS)
def test_columns_and_conditions_go_with_it(
    form: Form, by_xmin: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t ADD COLUMN more text")
    world = by_xmin.streaming(columns=("id", "v"), where="id > 40")
    assert world.run(form) == Counts(inserted=10)
    source.execute("UPDATE t SET v = 'new' WHERE id IN (1, 41)")
    assert world.run(form) == Counts(updated=1)
    assert scalar(warehouse, "SELECT array_agg(id ORDER BY id) FROM t WHERE v = 'new'") == [41]
