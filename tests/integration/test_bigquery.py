"""BigQuery as a destination, on an emulator: what lands, what a crash leaves, what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import DataError, DestinationError, EtlSyncError, SchemaError, StateError
from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Mark, Merged, Tolerance
from airflow_etl_sync.systems.bigquery import session as jobs
from airflow_etl_sync.systems.bigquery import sql
from airflow_etl_sync.systems.bigquery.access import BigQueryAccess
from airflow_etl_sync.systems.bigquery.destination import BigQueryDestination
from airflow_etl_sync.systems.bigquery.session import Answer, Session
from airflow_etl_sync.systems.bigquery.staging import staged_rows
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.bigquery_emulator import BigQuery, new_bigquery
from tests.contract.test_destinations import KEYS, batch_of, mark_of, row, stage
from tests.lakes import EXACT, Dying, LakeWorld, fill, source_rows
from tests.scenarios.world import FORMS, Form, scalar

HELD = [each for each in EXACT if each[0] != "numeric(38,0)"]
"""A BIGNUMERIC of the emulator has 38 digits, 18 of them behind the point."""


@pytest.fixture
def bigquery() -> Iterator[BigQuery]:
    with new_bigquery() as dataset:
        yield dataset


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path, bigquery: BigQuery) -> LakeWorld:
    return world_of(source_db, warehouse_db, tmp_path, bigquery.access, TableName("t"))


def world_of(source_db: str, warehouse_db: str, path: Path, access: BigQueryAccess, table: TableName) -> LakeWorld:
    def made(state: Engine) -> BigQueryDestination:
        return BigQueryDestination(access, table, state)

    return LakeWorld(source_db, warehouse_db, path / "staging", made=made, chunk_rows=4)


def loaded(bigquery: BigQuery) -> list[tuple[Any, ...]]:
    return bigquery.execute("SELECT * FROM `{}.t` ORDER BY id")


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_kept_in_step(world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery, form: Form) -> None:
    fill(source)
    assert world.run(form) == Counts(inserted=10)
    source.execute("UPDATE t SET v = 'new', c = c + 100 WHERE id IN (2, 9)")
    source.execute("INSERT INTO t VALUES (11, 200, NULL)")
    counts = world.run(form)
    assert (counts.inserted, counts.updated, counts.errors) == (1, 2, 0)
    assert loaded(bigquery) == source_rows(source)
    assert bigquery.tables() == ["etl_sync_landed_t", "t"]


def test_every_value_lands_exactly(world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery) -> None:
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(HELD))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, 1, {', '.join(value for _, value, _ in HELD)})")
    source.execute("INSERT INTO t (id, c) VALUES (2, 2)")
    assert world.run() == Counts(inserted=2)
    assert loaded(bigquery)[0][2:] == tuple(value for _, _, value in HELD)
    assert loaded(bigquery)[1][2:] == (None,) * len(HELD)
    source.execute("UPDATE t SET c = 1")
    again = world.but(rules=type(world.rules)(full_refresh=True))
    assert again.run() == Counts(updated=1, skipped=1)


def test_a_key_that_is_no_number_is_found_again(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery
) -> None:
    source.execute("CREATE TABLE t (id double precision PRIMARY KEY, c bigint NOT NULL)")
    source.execute("INSERT INTO t VALUES ('NaN', 1), (0.5, 2)")
    assert world.run() == Counts(inserted=2)
    source.execute("UPDATE t SET c = c + 10")
    assert world.run() == Counts(updated=2)
    assert len(loaded(bigquery)) == 2


@pytest.mark.scenario("S23")
def test_names_are_taken_literally_or_refused(
    source_db: str, warehouse_db: str, tmp_path: Path, source: psycopg.Connection, bigquery: BigQuery
) -> None:
    source.execute('CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, "Mixed" text, "select" text)')
    source.execute("INSERT INTO t VALUES (1, 1, 'y', 'z')")
    table = TableName("Orders", bigquery.access.dataset)
    world = world_of(source_db, warehouse_db, tmp_path, replace(bigquery.access, dataset=None), table)
    assert world.run() == Counts(inserted=1)
    source.execute("""UPDATE t SET c = 2, "Mixed" = 'Y'""")
    assert world.run() == Counts(updated=1)
    assert bigquery.execute("SELECT id, `Mixed`, `select` FROM `{}.Orders`") == [(1, "Y", "z")]
    source.execute('ALTER TABLE t ADD COLUMN "a`b" integer')
    source.execute("UPDATE t SET c = 3")
    with pytest.raises(SchemaError, match="BigQuery takes no column of the name 'a`b'"):
        world.run()


@pytest.mark.parametrize(
    ("schema", "name", "kind"), [("raw", "t`; DROP TABLE x", "table"), ("a-b", "t", "dataset"), ("", "t", "dataset")]
)
def test_places_that_cannot_be_are_refused(
    warehouse_db: str, bigquery: BigQuery, schema: str, name: str, kind: str
) -> None:
    state, access = PostgresAccess(warehouse_db).engine(), replace(bigquery.access, dataset=None)
    with pytest.raises(SchemaError, match=f"BigQuery takes no {kind} of the name"):
        BigQueryDestination(access, TableName(name, schema), state)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_what_has_landed_before_a_crash_is_counted_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, bigquery: BigQuery, form: Form
) -> None:
    fill(source)
    dying = world.but(made=lambda state: Dying(world.made(state), 1))
    extraction = world.extract() if form == "chain" else None
    with pytest.raises(InterruptedError):
        dying.load(extraction) if extraction else dying.sync("run")
    if form == "one_task":  # the source gives other rows the second time
        source.execute("UPDATE t SET id = -1 WHERE id = 1")
    assert (world.load(extraction) if extraction else world.sync("run").counts) == Counts(inserted=10)
    assert len(loaded(bigquery)) == 10
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 3


@pytest.mark.scenario("S12")
def test_a_script_that_goes_on_without_its_worker_is_recalled(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 3)
    run = Session.run

    def unheard(session: Session, script: str, values: Mapping[str, Any]) -> Answer:
        run(session, script, values)
        raise InterruptedError

    extraction = world.extract()
    with monkeypatch.context() as patched:
        patched.setattr(Session, "run", unheard)
        with pytest.raises(InterruptedError):
            world.load(extraction)
    assert world.load(extraction) == Counts(inserted=3)
    assert loaded(bigquery) == source_rows(source)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (mark_of(1), "Chunk 0 of 's' has been loaded by another try meanwhile"),
        (mark_of(2), "A newer run of 's' has loaded t"),
    ],
)
def test_a_script_that_another_has_overtaken_merges_nothing(
    source_db: str, warehouse_db: str, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch, other: Mark, said: str
) -> None:
    """The other, which goes by another lock, ends after this one has asked whether it may land."""
    run = Session.run

    def merge(database: str, mark: Mark, *rows: dict[str, Any]) -> Merged:
        state = PostgresAccess(database).engine()
        destination = BigQueryDestination(bigquery.access, TableName("t"), state)
        chunk = stage(destination, batch_of(*rows), mark)
        with state.begin() as connection:
            return destination.merge(connection, chunk, len(rows), KEYS, LoadRules(), Tolerance())

    def overtaken(session: Session, script: str, values: Mapping[str, Any]) -> Answer:
        monkeypatch.undo()
        assert merge(source_db, other, row(1, 1, "other")).counts == Counts(inserted=1)
        return run(session, script, values)

    monkeypatch.setattr(Session, "run", overtaken)
    with pytest.raises(StateError, match=said):
        merge(warehouse_db, mark_of(1), row(1, 1, "a"), row(2, 1, "b"))
    assert loaded(bigquery) == [(1, 1, "other")]


def test_what_nobody_asks_for_any_more_is_forgotten(warehouse_db: str, bigquery: BigQuery) -> None:
    state = PostgresAccess(warehouse_db).engine()
    destination = BigQueryDestination(bigquery.access, TableName("t"), state)

    def land(mark: Mark) -> None:
        with state.begin() as connection:
            chunk = stage(destination, batch_of(row(1, mark.turn, "a")), mark)
            destination.merge(connection, chunk, 1, KEYS, LoadRules(), Tolerance())

    for turn in (1, 2, 3):
        land(mark_of(turn))
    land(mark_of(2, "backfill", yields=False, overtakes=False))
    kept = "SELECT run FROM `{}.etl_sync_landed_t` WHERE run IS NOT NULL ORDER BY run"
    assert bigquery.execute(kept) == [("backfill",), ("run3",)]
    land(mark_of(remembered.WEEK + 3))
    assert bigquery.execute(kept) == [(f"run{remembered.WEEK + 3}",)]


def test_one_job_merges_and_remembers(
    world: LakeWorld, source: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    query = Session._query

    def telling(session: Session, statement: str, values: Any) -> Answer:
        said.append(statement)
        return query(session, statement, values)

    monkeypatch.setattr(Session, "_query", telling)
    fill(source, 2)
    world.run()
    (script,) = [statement for statement in said if "TRANSACTION" in statement]
    inside = script[script.index("BEGIN TRANSACTION") : script.index("COMMIT TRANSACTION")]
    assert inside.index("UPDATE") < inside.index("MERGE") < inside.index("INSERT INTO `etl-sync.")
    assert not any(word in inside for word in ("CREATE", "ALTER", "DROP"))
    assert said.index(script) > max(n for n, statement in enumerate(said) if statement.startswith("CREATE"))


def test_a_merge_that_fails_leaves_nothing(world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery) -> None:
    bigquery.execute("CREATE TABLE `{}.t` (id INT64, c INT64, v STRING)")
    bigquery.execute("INSERT INTO `{}.t` VALUES (1, 0, 'a'), (1, 0, 'b')")
    fill(source, 1)
    with pytest.raises(DataError, match=r"The table 't' has several rows of one key \(id\)"):
        world.run()
    assert bigquery.execute("SELECT v FROM `{}.t` ORDER BY v") == [("a",), ("b",)]
    assert bigquery.execute("SELECT COUNT(*) FROM `{}.etl_sync_landed_t` WHERE run IS NOT NULL") == [(0,)]
    assert bigquery.tables() == ["etl_sync_landed_t", "t"]


@pytest.mark.scenario("S13")
def test_two_loads_of_a_table_come_one_after_another(warehouse_db: str, bigquery: BigQuery) -> None:
    state = PostgresAccess(warehouse_db).engine()

    def merge(number: int, connection: Connection) -> Merged:
        destination = BigQueryDestination(bigquery.access, TableName("t"), state)
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
    assert [row[0] for row in loaded(bigquery)] == [1, 2]


@pytest.mark.scenario("S27")
def test_rows_that_have_not_arrived_are_noticed(bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "load", lambda *_: 1)
    dataset = f"{bigquery.access.project}.{bigquery.access.dataset}"
    with (
        bigquery.access.open() as session,
        pytest.raises(DestinationError, match="1 of 2 rows have arrived in BigQuery"),
        staged_rows(session, dataset, pa.table({"id": [1, 2]})),
    ):
        pass
    assert bigquery.tables() == []


def test_a_staged_table_that_cannot_be_dropped_ends_by_itself(
    world: LakeWorld,
    source: psycopg.Connection,
    bigquery: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sql, "drop_staged", lambda _: "DROP TABLE `nowhere.nothing`")
    fill(source, 2)
    assert world.run() == Counts(inserted=2)
    assert "is left for 24 hours: BigQuery refuses it (NotFound" in caplog.text
    assert len(bigquery.tables()) == 3


@pytest.mark.scenario("S17")
def test_rows_that_do_not_fit_are_set_aside(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, bigquery: BigQuery
) -> None:
    bigquery.execute("CREATE TABLE `{}.t` (id INT64, c INT64, n NUMERIC(4,2), v STRING(3), d DATE NOT NULL)")
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
        "column v: longer than STRING(3)",
    ]
    assert [row[0] for row in loaded(bigquery)] == [2, 3, 5]


def test_a_number_gets_more_digits_when_a_value_comes_that_does_not_fit(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery
) -> None:
    bigquery.execute("CREATE TABLE `{}.t` (id INT64, c INT64, n NUMERIC(3))")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, n numeric(12,2))")
    source.execute("INSERT INTO t VALUES (1, 1, 5)")
    world.run()
    assert declared(bigquery)["n"] == "NUMERIC(3)"
    source.execute("INSERT INTO t VALUES (2, 2, 5000000000.25)")
    world.run()
    assert declared(bigquery)["n"] == "NUMERIC(12,2)"
    assert loaded(bigquery) == [(1, 1, Decimal(5)), (2, 2, Decimal("5000000000.25"))]


def declared(bigquery: BigQuery) -> dict[str, str]:
    with bigquery.access.open() as session:
        found = session.columns(f"{bigquery.access.project}.{bigquery.access.dataset}.t")
    return {column.name: column.declared for column in found}


def test_columns_that_are_there_are_filled_as_what_they_are(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery
) -> None:
    bigquery.execute("CREATE TABLE `{}.t` (ID INT64, c INT64, n NUMERIC, m STRING DEFAULT 'kept', b BIGNUMERIC)")
    bigquery.execute("INSERT INTO `{}.t` (ID, c) VALUES (7, 0)")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, n integer, b numeric(20,12))")
    source.execute("INSERT INTO t VALUES (1, 1, 3, 0.000000000001)")
    assert world.run() == Counts(inserted=1)
    assert world.but(rules=type(world.rules)(full_refresh=True)).run() == Counts(skipped=1)
    found = bigquery.execute("SELECT n, m, b FROM `{}.t` WHERE ID = 1")
    assert found == [(Decimal(3), "kept", Decimal("0.000000000001"))]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id INT64, c INT64, v JSON", "Column v of 't' is a JSON, which does not hold"),
        ("id INT64, c INT64, v ARRAY<STRING>", "Column v of 't' is a ARRAY<STRING>, which does not hold"),
        ("id INT64, c INT64, v STRUCT<a INT64>", "Column v of 't' is a STRUCT, which does not hold"),
        ("id INT64, c INT64, v STRING, x STRING NOT NULL", "Column x of 't' takes no NULL"),
        ("c INT64, v STRING", "has no column 'id' to find a row by"),
    ],
)
def test_tables_that_cannot_be_loaded_are_refused(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery, columns: str, said: str
) -> None:
    bigquery.execute(f"CREATE TABLE `{{}}.t` ({columns})")
    fill(source, 1)
    with pytest.raises(SchemaError, match=said):
        world.run()


def test_a_dataset_whose_texts_are_compared_otherwise_is_refused(
    world: LakeWorld, source: psycopg.Connection, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator has no collations, so its answer is changed: new columns have the dataset's."""
    plain = jobs._declared

    def collated(field: Any) -> str:
        return plain(field).replace("STRING", "STRING COLLATE und:ci")

    monkeypatch.setattr(jobs, "_declared", collated)
    fill(source, 1)
    with pytest.raises(SchemaError, match="Column v of 't' is a STRING COLLATE und:ci, which does not hold"):
        world.run()
    assert loaded(bigquery) == []


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
    bigquery: BigQuery,
    schema: str | None,
) -> None:
    fill(source, 1)
    nobody = replace(bigquery.access, endpoint="http://127.0.0.1:1", patience_seconds=1)
    access = bigquery.access if schema else nobody
    world, began = world_of(source_db, warehouse_db, tmp_path, access, TableName("t", schema)), time.monotonic()
    with pytest.raises(EtlSyncError, match="BigQuery refuses it") as told:
        world.run()
    assert isinstance(told.value, SchemaError if schema else DestinationError)
    assert "127.0.0.1" not in str(told.value) and told.value.__context__ is None
    assert time.monotonic() - began < 30
