"""A file of DuckDB as a destination: what lands, what a crash leaves, who has the file open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from sqlalchemy import Engine

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import DataError, DestinationError, SchemaError
from airflow_etl_sync.systems.duckdb import destination as duckdb_destination
from airflow_etl_sync.systems.duckdb.destination import DuckDbDestination
from tests.lakes import EXACT, Dying, LakeWorld, fill, source_rows
from tests.scenarios.world import FORMS, Form, scalar


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path, path: Path) -> LakeWorld:
    def made(state: Engine) -> DuckDbDestination:
        return DuckDbDestination(path, TableName("t"), state)

    return LakeWorld(source_db, warehouse_db, tmp_path / "staging", made=made, chunk_rows=4)


def loaded(path: Path, table: str = "t") -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path)) as file:
        rows = file.sql(f"SELECT * FROM {table} ORDER BY 1").to_arrow_table().to_pylist()
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_kept_in_step(world: LakeWorld, source: psycopg.Connection, path: Path, form: Form) -> None:
    fill(source)
    assert world.run(form) == Counts(inserted=10)
    source.execute("UPDATE t SET v = 'new', c = c + 100 WHERE id IN (2, 9)")
    source.execute("INSERT INTO t VALUES (11, 200, NULL)")
    counts = world.run(form)
    assert (counts.inserted, counts.updated, counts.errors) == (1, 2, 0)
    assert loaded(path) == source_rows(source)


def test_every_value_lands_exactly(world: LakeWorld, source: psycopg.Connection, path: Path) -> None:
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(EXACT))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, 1, {', '.join(value for _, value, _ in EXACT)})")
    source.execute("INSERT INTO t (id, c) VALUES (2, 2)")
    assert world.run() == Counts(inserted=2)
    first, second = loaded(path)
    assert first[2:] == tuple(value for _, _, value in EXACT)
    assert second[2:] == (None,) * len(EXACT)
    source.execute("UPDATE t SET c = 1")
    again = world.but(rules=type(world.rules)(full_refresh=True))
    assert again.run() == Counts(updated=1, skipped=1)


def test_columns_that_duckdb_reads_from_text_are_taken_as_they_are(
    world: LakeWorld, source: psycopg.Connection, path: Path
) -> None:
    with duckdb.connect(str(path)) as file:
        file.execute("CREATE TABLE t (id INTEGER, c BIGINT, u UUID, h TIME, d DOUBLE DEFAULT 7)")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint, u uuid, h time)")
    source.execute("INSERT INTO t VALUES (1, 1, '0f0e0d0c-0b0a-0908-0706-050403020100', '08:30:00.5')")
    assert world.run() == Counts(inserted=1)
    assert world.but(rules=type(world.rules)(full_refresh=True)).run() == Counts(skipped=1)
    with duckdb.connect(str(path)) as file:
        found = file.execute("SELECT u::text, h::text, d FROM t").fetchone()
    assert found == ("0f0e0d0c-0b0a-0908-0706-050403020100", "08:30:00.5", 7)


def test_a_column_is_widened_when_the_first_value_comes_that_does_not_fit(
    world: LakeWorld, source: psycopg.Connection, path: Path
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, n integer)")
    source.execute("INSERT INTO t VALUES (1, 1, 5)")
    world.run()
    source.execute("ALTER TABLE t ALTER n TYPE bigint")
    source.execute("INSERT INTO t VALUES (2, 2, 5000000000)")
    world.run()
    assert loaded(path)[1][2] == 5_000_000_000
    source.execute("ALTER TABLE t ALTER n TYPE text USING 'x'")
    source.execute("UPDATE t SET c = 9")
    with pytest.raises(DataError, match="column n: the value is not the same as int64: 2"):
        world.run()


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_what_has_landed_before_a_crash_is_counted_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, path: Path, form: Form
) -> None:
    fill(source)
    dying = world.but(made=lambda state: Dying(world.made(state), 1))
    extraction = world.extract() if form == "chain" else None
    with pytest.raises(InterruptedError):
        dying.load(extraction) if extraction else dying.sync("run")
    if form == "one_task":  # the source gives other rows the second time
        source.execute("UPDATE t SET id = -1 WHERE id = 1")
    assert (world.load(extraction) if extraction else world.sync("run").counts) == Counts(inserted=10)
    assert len(loaded(path)) == 10
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 3


def test_a_load_waits_for_another_process_and_then_gives_up_for_now(
    world: LakeWorld, source: psycopg.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 2)
    world.run()
    monkeypatch.setattr(duckdb_destination, "BUSY_SECONDS", 0.2)
    source.execute("INSERT INTO t VALUES (3, 3, 'c')")
    code = f"import duckdb, sys; held = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(DestinationError, match="IOException") as failed:
            world.run()
        other.communicate()
    assert failed.value.is_retryable
    assert world.run().inserted == 1


def test_a_row_that_breaks_a_constraint_stops_the_load_and_shows_no_value(
    world: LakeWorld, source: psycopg.Connection, path: Path
) -> None:
    with duckdb.connect(str(path)) as file:
        file.execute("CREATE TABLE t (id INTEGER, c BIGINT, v VARCHAR CHECK (v <> 'secret'))")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint, v text)")
    source.execute("INSERT INTO t VALUES (1, 1, 'secret')")
    with pytest.raises(DataError) as failed:
        world.run()
    assert "secret" not in str(failed.value)


@pytest.mark.scenario("S23")
def test_names_are_taken_literally(world: LakeWorld, source: psycopg.Connection, path: Path) -> None:
    source.execute('CREATE TABLE t ("Or der""s" integer PRIMARY KEY, c bigint, "select" text)')
    source.execute("INSERT INTO t VALUES (1, 1, 'a')")
    world = world.but(made=lambda state: DuckDbDestination(path, TableName('t"; drop', "S x"), state))
    assert world.run() == Counts(inserted=1)
    source.execute("UPDATE t SET \"select\" = 'b', c = 2")
    assert world.run().updated == 1
    assert loaded(path, '"S x"."t""; drop"') == [(1, 2, "b")]


def test_an_absent_table_is_not_created_unasked(world: LakeWorld, source: psycopg.Connection, path: Path) -> None:
    fill(source, 2)
    with pytest.raises(SchemaError, match="has no table 't' and create_table is off"):
        world.but(load_rules=LoadRules(create_table=False)).run()
