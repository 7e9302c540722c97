"""Snowflake as a destination, on an emulator: what lands, what a crash leaves, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, EtlSyncError, SchemaError
from airflow_etl_sync.systems.base import Mark, Merged, Tolerance
from airflow_etl_sync.systems.columnar.memory import Memory
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.access import SnowflakeAccess
from airflow_etl_sync.systems.snowflake.destination import SnowflakeDestination
from airflow_etl_sync.systems.snowflake.session import Session
from airflow_etl_sync.systems.snowflake.staging import stage_rows
from airflow_etl_sync.systems.snowflake.turn import Turn
from tests.contract.test_destinations import KEYS, batch_of, mark_of, row, stage
from tests.lakes import EXACT, Dying, LakeWorld, fill, source_rows
from tests.scenarios.world import FORMS, Form, scalar
from tests.snowflake_emulator import Snowflake, new_snowflake

HELD = [each for each in EXACT if each[0] != "numeric(38,0)"]
"""The emulator has a bigint for each number without digits behind the point."""


@pytest.fixture
def snowflake() -> Iterator[Snowflake]:
    with new_snowflake() as database:
        yield database


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path, snowflake: Snowflake) -> LakeWorld:
    return world_of(source_db, warehouse_db, tmp_path, snowflake.access, TableName("t"))


def world_of(source_db: str, warehouse_db: str, path: Path, access: SnowflakeAccess, table: TableName) -> LakeWorld:
    def made(state: Engine) -> SnowflakeDestination:
        return SnowflakeDestination(access, table, state)

    return LakeWorld(source_db, warehouse_db, path / "staging", made=made, chunk_rows=4)


def loaded(snowflake: Snowflake) -> list[tuple[Any, ...]]:
    return snowflake.execute("SELECT * FROM T ORDER BY ID")


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_kept_in_step(
    world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake, form: Form
) -> None:
    fill(source)
    assert world.run(form) == Counts(inserted=10)
    source.execute("UPDATE t SET v = 'new', c = c + 100 WHERE id IN (2, 9)")
    source.execute("INSERT INTO t VALUES (11, 200, NULL)")
    counts = world.run(form)
    assert (counts.inserted, counts.updated, counts.errors) == (1, 2, 0)
    assert loaded(snowflake) == source_rows(source)


def test_every_value_lands_exactly(world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake) -> None:
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(HELD))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, 1, {', '.join(value for _, value, _ in HELD)})")
    source.execute("INSERT INTO t (id, c) VALUES (2, 2)")
    assert world.run() == Counts(inserted=2)
    assert loaded(snowflake)[0][2:] == tuple(value for _, _, value in HELD)
    absent = ", ".join(f"V{n} IS NULL" for n in range(len(HELD)))
    assert snowflake.execute(f"SELECT {absent} FROM T WHERE ID = 2") == [(True,) * len(HELD)]
    source.execute("UPDATE t SET c = 1")
    again = world.but(rules=type(world.rules)(full_refresh=True))
    assert again.run() == Counts(updated=1, skipped=1)


def test_a_text_that_stands_for_null_in_files_stays_a_text(
    world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, v text)")
    source.execute(r"INSERT INTO t VALUES (1, 1, '\N'), (2, 2, ''), (3, 3, 'NULL')")
    world.run()
    assert [row[2] for row in loaded(snowflake)] == [r"\N", "", "NULL"]


@pytest.mark.scenario("S23")
def test_names_are_those_that_snowflake_folds_or_taken_literally(
    source_db: str, warehouse_db: str, tmp_path: Path, source: psycopg.Connection, snowflake: Snowflake
) -> None:
    source.execute(
        'CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, "a ""b" text, "Mixed" text, "select" text)'
    )
    source.execute("INSERT INTO t VALUES (1, 1, 'x', 'y', 'z')")
    snowflake.execute("CREATE SCHEMA RAW")
    table = TableName("t; DROP TABLE x", "raw")
    world = world_of(source_db, warehouse_db, tmp_path, snowflake.access, table)
    assert world.run() == Counts(inserted=1)
    source.execute("""UPDATE t SET c = 2, "Mixed" = 'Y'""")
    assert world.run() == Counts(updated=1)
    found = snowflake.execute("USE SCHEMA RAW", 'SELECT ID, "a ""b", "Mixed", "SELECT" FROM "t; DROP TABLE x"')
    assert found == [(1, "x", "Y", "z")]


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_what_has_landed_before_a_crash_is_counted_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, snowflake: Snowflake, form: Form
) -> None:
    fill(source)
    dying = world.but(made=lambda state: Dying(world.made(state), 1))
    extraction = world.extract() if form == "chain" else None
    with pytest.raises(InterruptedError):
        dying.load(extraction) if extraction else dying.sync("run")
    if form == "one_task":  # the source gives other rows the second time
        source.execute("UPDATE t SET id = -1 WHERE id = 1")
    assert (world.load(extraction) if extraction else world.sync("run").counts) == Counts(inserted=10)
    assert len(loaded(snowflake)) == 10
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 3


def test_no_statement_that_commits_runs_inside_the_transaction(
    world: LakeWorld, source: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    execute = Session.execute

    def telling(session: Session, statement: str, parameters: Sequence[Any] = (), /) -> Any:
        said.append(statement)
        return execute(session, statement, parameters)

    monkeypatch.setattr(Session, "execute", telling)
    fill(source, 2)
    world.run()
    verbs = [statement.split()[0] for statement in said[said.index(sql.BEGIN) : said.index(sql.COMMIT)]]
    assert verbs == ["BEGIN", "SELECT", "MERGE", "UPDATE", "SELECT", "SELECT", "SELECT", *(
        "INSERT", "SELECT", "UPDATE", "DELETE"
    )]  # fmt: skip
    assert "CREATE" in [statement.split()[0] for statement in said]


def test_a_merge_that_fails_leaves_nothing(world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake) -> None:
    snowflake.execute("CREATE TABLE T (ID NUMBER(38,0), C NUMBER(38,0), V VARCHAR)", "INSERT INTO T VALUES (1, 0, 'a')")
    snowflake.execute("INSERT INTO T VALUES (1, 0, 'b')")
    fill(source, 1)
    with pytest.raises(DataError, match=r"The table 't' has several rows of one key \(id\)"):
        world.run()
    assert snowflake.execute("SELECT V FROM T ORDER BY V") == [("a",), ("b",)]
    assert snowflake.execute("SELECT COUNT(*) FROM ETL_SYNC_LANDED") == [(0,)]


def test_a_merge_that_another_has_overtaken_is_undone(snowflake: Snowflake) -> None:
    mark = Mark(sync_key="s", extraction_id="r", number=0, turn=5, overtakes=True, yields=True)
    with snowflake.access.open(None) as session, snowflake.access.open(None) as other:
        turn = Turn(session, Memory(session, sql.MEMORY, "T", "t"), mark)
        turn.enter()
        turn.begin()
        assert other.run(sql.HOLD_TARGET, "T") == 1
        with pytest.raises(DestinationError, match="Another load of 't' has been committed while this one merged"):
            turn.end(Merged(Counts()))
        turn.begin()
        turn.end(Merged(Counts()))
        assert list(turn.memory.landed("r")) == [0]


@pytest.mark.scenario("S13")
def test_two_loads_of_a_table_come_one_after_another(warehouse_db: str, snowflake: Snowflake) -> None:
    state = PostgresAccess(warehouse_db).engine()

    def merge(number: int, connection: Connection) -> Merged:
        destination = SnowflakeDestination(snowflake.access, TableName("t"), state)
        batch = batch_of(row(number, 1, "a"))
        mark = mark_of(1, number=number)
        return destination.merge(connection, stage(destination, batch, mark), 1, KEYS, LoadRules(), Tolerance())

    def merge_alone() -> Merged:
        with state.begin() as connection:
            return merge(2, connection)

    with ThreadPoolExecutor() as threads:
        with state.begin() as connection:
            merge(1, connection)
            other = threads.submit(merge_alone)
            with pytest.raises(NotYet):
                other.result(timeout=2)
        assert other.result(timeout=30).counts == Counts(inserted=1)
    assert [row[0] for row in loaded(snowflake)] == [1, 2]


@pytest.mark.scenario("S27")
def test_rows_that_have_not_arrived_are_noticed(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "put_staged", lambda _: "SELECT 1")  # lost on its way: COPY finds no file
    rows = pa.table({"id": [1, 2]})
    with (
        snowflake.access.open(None) as session,
        pytest.raises(DestinationError, match="0 of 2 rows have arrived in Snowflake"),
    ):
        stage_rows(session, rows)


@pytest.mark.scenario("S17")
def test_rows_that_do_not_fit_are_set_aside(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, snowflake: Snowflake
) -> None:
    snowflake.execute("CREATE TABLE T (ID NUMBER(38,0), C NUMBER(38,0), N NUMBER(4,2), V VARCHAR(3), D DATE NOT NULL)")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, n numeric(4,2), v text, d date)")
    source.execute(
        """INSERT INTO t VALUES (1, 1, 12.34, 'größ', '2026-01-01'), (2, 2, 0, 'ab', '2026-01-01'),
        (3, 3, 0, 'äöü', '9999-12-31'), (4, 4, 0, 'x', NULL), (5, 5, NULL, NULL, '0001-01-01')"""
    )
    with pytest.raises(DataError, match="cannot be loaded"):
        world.run()
    assert world.but(load_rules=LoadRules(max_errors=2)).run() == Counts(inserted=3, errors=2)
    errors = warehouse.execute("SELECT error FROM etl_sync.failed_record ORDER BY id").fetchall()
    assert sorted(error for (error,) in errors) == [
        "column d: NULL, which the table does not take",
        "column v: longer than VARCHAR(3)",
    ]
    assert [row[0] for row in loaded(snowflake)] == [2, 3, 5]


def test_a_number_gets_more_digits_when_a_value_comes_that_does_not_fit(
    world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake
) -> None:
    snowflake.execute("CREATE TABLE T (ID NUMBER(5,0), C NUMBER(38,0), N NUMBER(3,0))")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, n bigint)")
    source.execute("INSERT INTO t VALUES (1, 1, 5)")
    world.run()
    assert snowflake.execute("DESCRIBE TABLE T")[2][1] == "NUMBER(3,0)"
    source.execute("INSERT INTO t VALUES (2, 2, 5000000000)")
    world.run()
    assert snowflake.execute("DESCRIBE TABLE T")[2][1] == "NUMBER(38,0)"
    assert loaded(snowflake) == [(1, 1, 5), (2, 2, 5_000_000_000)]


def test_columns_that_are_there_are_filled_as_what_they_are(
    world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake
) -> None:
    snowflake.execute(
        "CREATE TABLE T (ID NUMBER(38,0), C NUMBER(38,0), H TIME, N NUMBER(12,2), M VARCHAR DEFAULT 'kept')",
        "INSERT INTO T (ID, C) VALUES (7, 0)",
    )
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, h time, n integer)")
    source.execute("INSERT INTO t VALUES (1, 1, '08:30:00.000001', 3)")
    assert world.run() == Counts(inserted=1)
    assert world.but(rules=type(world.rules)(full_refresh=True)).run() == Counts(skipped=1)
    found = snowflake.execute("SELECT TO_VARCHAR(H), N, M FROM T WHERE ID = 1")
    assert found == [("08:30:00.000001", Decimal("3.00"), "kept")]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("ID NUMBER(38,0), C NUMBER(38,0), V VARIANT", "Column v of 't' is a VARIANT, which does not hold"),
        ("ID NUMBER(38,0), C NUMBER(38,0), V VARCHAR, X VARCHAR NOT NULL", "Column x of 't' takes no NULL"),
        ("C NUMBER(38,0), V VARCHAR", "has no column 'id' to find a row by"),
    ],
)
def test_tables_that_cannot_be_loaded_are_refused(
    world: LakeWorld, source: psycopg.Connection, snowflake: Snowflake, columns: str, said: str
) -> None:
    snowflake.execute(f"CREATE TABLE T ({columns})")
    fill(source, 1)
    with pytest.raises(SchemaError, match=said):
        world.run()


def test_no_table_is_made_where_none_is_to_be(world: LakeWorld, source: psycopg.Connection) -> None:
    fill(source, 1)
    with pytest.raises(SchemaError, match="no table 't' and create_table is off"):
        world.but(load_rules=LoadRules(create_table=False)).run()


@pytest.mark.parametrize("schema", ["nowhere", None])
def test_what_is_wrong_with_the_place_is_told_without_values(
    source_db: str,
    warehouse_db: str,
    tmp_path: Path,
    source: psycopg.Connection,
    snowflake: Snowflake,
    schema: str | None,
) -> None:
    fill(source, 1)
    nobody = SnowflakeAccess({**snowflake.access.options, "port": 1, "login_timeout": 1, "network_timeout": 1})
    access = snowflake.access if schema else nobody
    world = world_of(source_db, warehouse_db, tmp_path, access, TableName("t", schema))
    with pytest.raises(EtlSyncError, match="Snowflake refuses it") as told:
        world.run()
    assert isinstance(told.value, (ConfigurationError, SchemaError) if schema else DestinationError)
    assert "snow" not in str(told.value).replace("Snowflake", "") and told.value.__context__ is None
