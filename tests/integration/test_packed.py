"""Rows that stay packed between two PostgreSQL servers: told apart, counted and found again without being unpacked."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg
import pyarrow as pa
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, Window, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError, SourceError
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.base import Destination, MergeKeys, Source, Tolerance, let_pack
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.packed import bytes_of, columns_of, is_packed
from airflow_etl_sync.systems.postgres.source import PostgresSource
from airflow_etl_sync.systems.postgres.types import staging_type

STREAM = Stream(sync_key="t", cursor_field="id", table=TableName("t"))

VALUES = [
    ("smallint", "'-32768'"),
    ("integer", "'2147483647'"),
    ("bigint", "'-9223372036854775808'"),
    ("numeric", "'12345678901234567890.000000000100'"),
    ("numeric", "'NaN'"),
    ("numeric", "'-Infinity'"),
    ("numeric(30,2)", "'1e20'"),
    ("real", "'3.4028235e38'"),
    ("double precision", "'-0'"),
    ("double precision", "'5e-324'"),
    ("double precision", "'NaN'"),
    ("boolean", "'t'"),
    ("text", "E'tab\\t \"quoted\" \\\\ ümläut'"),
    ("text", "''"),
    ("character varying(9)", "'a'"),
    ("character(5)", "'ab'"),
    ("name", "'n'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("bytea", "'\\x00ff5c'"),
    ("date", "'infinity'"),
    ("date", "'2026-02-28'"),
    ("time", "'23:59:59.999999'"),
    ("time", "'24:00:00'"),
    ("timestamp", "'2026-01-02 03:04:05.000001'"),
    ("timestamp", "'-infinity'"),
    ("timestamptz", "'2026-10-25 01:30:00+02'"),
    ("timestamptz", "'infinity'"),
    ("interval", "'1 year -3 days 04:05:06.7'"),
    ("inet", "'10.0.0.1/8'"),
    ("integer[]", "'[0:1]={7,NULL}'"),
    ("text[]", "'{a,\"b,c\"}'"),
    ("jsonb", "'{\"b\": 1.50}'"),
    ("mood", "'happy'"),
    ("positive", "'7'"),
]


def packed(source_db: str, stream: Stream = STREAM) -> PostgresSource:
    source = PostgresSource(PostgresAccess(source_db), stream)
    source.pack()
    return source


def batches_of(source: PostgresSource) -> list[pa.RecordBatch]:
    with closing(source.read(Window(), None)) as batches:
        return list(batches)


def load_directly(warehouse_db: str, source: PostgresSource) -> Counts:
    destination = PostgresDestination(PostgresAccess(warehouse_db), TableName("t"))
    tables.ensure(destination.engine)
    batches = batches_of(source)
    staged = destination.stage("stage_packed_0_1", batches[0].schema, batches)
    with destination.engine.begin() as connection:
        rows = sum(batch.num_rows for batch in batches)
        keys = MergeKeys(("id",), "id")
        return destination.merge(connection, staged, rows, keys, LoadRules(), Tolerance()).counts


@pytest.mark.parametrize(("declared", "literal"), VALUES)
def test_reading_goes_on_behind_a_key_of_any_type(
    source: psycopg.Connection, source_db: str, declared: str, literal: str
) -> None:
    source.execute("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    source.execute(f"CREATE TABLE t (before text, id integer, k {declared}, PRIMARY KEY (k, id))")
    source.execute(f"INSERT INTO t VALUES (NULL, 1, {literal}), ('a', 2, {literal}), ('', 3, {literal})")
    reading = packed(source_db)
    (_, batch) = batches_of(reading)
    position = reading.position(batch.slice(0, 2))
    key, number = position["values"]
    found = source.execute(f"SELECT id FROM t WHERE (k, id) = (CAST(%s AS {declared}), %s)", (key, int(number)))
    assert found.fetchall() == [(2,)]
    with closing(reading.read(Window(), position)) as rest:
        assert sum(each.num_rows for each in rest) == 1


def test_a_key_that_python_cannot_write_begins_again(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer, k timestamp PRIMARY KEY)")
    source.execute("INSERT INTO t VALUES (1, '4000-01-01 BC'), (2, '2026-01-01')")
    reading = packed(source_db)
    position = reading.position(batches_of(reading)[1].slice(0, 1))
    with closing(reading.read(Window(), position)) as again:
        assert sum(each.num_rows for each in again) == 2


def test_bytes_of_a_part_are_those_of_its_rows(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    source.execute("INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 100) AS n")
    _, batch = batches_of(packed(source_db))
    rows = batch.column(0).to_pylist()
    for first, count in ((0, 100), (3, 5), (99, 1), (50, 0)):
        assert bytes(bytes_of(batch.slice(first, count).slice(0))) == b"".join(rows[first : first + count])


def test_wide_rows_come_in_small_batches(source: psycopg.Connection, source_db: str, warehouse_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    source.execute("INSERT INTO t SELECT n, repeat(n::text, 500000) FROM generate_series(1, 30) AS n")
    batches = batches_of(packed(source_db))
    assert sum(batch.num_rows for batch in batches) == 30
    assert max(batch.nbytes for batch in batches) < 6 * 1024 * 1024
    assert load_directly(warehouse_db, packed(source_db)) == Counts(inserted=30)


def test_an_empty_table_is_a_batch_that_tells_its_columns(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v numeric(5,1))")
    (batch,) = batches_of(packed(source_db))
    assert (batch.num_rows, is_packed(batch.schema)) == (0, True)
    assert columns_of(batch.schema).names == ["id", "v"]


def test_an_error_in_the_middle_is_the_server_s(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    source.execute("INSERT INTO t SELECT generate_series(1, 50000)")
    sql = "SELECT id, 1 / (40000 - id) AS v FROM t"
    with pytest.raises(DataError) as raised:
        batches_of(packed(source_db, replace(STREAM, table=None, sql=sql, primary_key=("id",))))
    assert raised.value.sqlstate == "22012"


def test_a_session_that_is_ended_in_the_middle_can_be_tried_again(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    source.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) AS n")
    batches = packed(source_db).read(Window(), None)
    with closing(batches):
        assert [next(batches).num_rows > 0 for _ in range(2)] == [False, True]
        source.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'COPY%' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(SourceError) as raised:
            list(batches)
    assert raised.value.is_retryable


def test_an_author_s_query_is_one_statement(source: psycopg.Connection, source_db: str) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    stream = replace(STREAM, table=None, sql="SELECT id FROM t) TO STDOUT; DROP TABLE t; COPY (SELECT 1")
    with pytest.raises(ConfigurationError):
        batches_of(packed(source_db, replace(stream, primary_key=("id",))))
    assert source.execute("SELECT to_regclass('t')::text").fetchone() == ("t",)


def test_types_that_differ_meet_as_text_does(
    source: psycopg.Connection, source_db: str, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    """As where rows come as Arrow: a cast of numeric or jsonb itself would round or refuse what its text does not."""
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c character(4), n numeric, j jsonb, a integer[])")
    source.execute("INSERT INTO t VALUES (1, 'ab', 7, '\"x\"', '{1,2}')")
    warehouse.execute("CREATE TABLE t (id bigint PRIMARY KEY, c text, n integer, j text, a text)")
    assert load_directly(warehouse_db, packed(source_db)) == Counts(inserted=1)
    assert warehouse.execute("SELECT c, n, j, a FROM t").fetchone() == ("ab  ", 7, '"x"', "{1,2}")


def test_packed_rows_are_staged_in_chunks(
    source: psycopg.Connection, source_db: str, warehouse: psycopg.Connection, warehouse_db: str, tmp_path: Path
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, n numeric(9,2), tags text[], c character(3), d timestamp)")
    source.execute(
        "INSERT INTO t SELECT n, n / 3.0, ARRAY[n::text, NULL], 'ab', now() FROM generate_series(1, 95) AS n"
    )
    counts = through_chunks(source_db, warehouse_db, Staging(tmp_path))
    assert counts == Counts(inserted=95)
    query = "SELECT * FROM t ORDER BY id"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()


def through_chunks(source_db: str, warehouse_db: str, staging: Staging) -> Counts:
    destination = PostgresDestination(PostgresAccess(warehouse_db), TableName("t"))
    extraction = extract(
        packed(source_db), destination.engine, staging, stream=STREAM, rules=WindowRules(),
        identity=RunIdentity("dag", "task", "run"), chunk_rows=10,
    )  # fmt: skip
    assert len(extraction.chunks) == 10
    return sum((load(destination, staging, part, LoadRules()) for part in extraction.parts(3)), Counts())


@pytest.mark.parametrize("told", [b"integer); DROP TABLE t; --", b"", None])
def test_a_packed_column_that_says_another_type_is_refused(told: bytes | None) -> None:
    field = pa.field("v", pa.null(), metadata=None if told is None else {b"etl_sync.staged_as": told})
    with pytest.raises(SchemaError, match="Column 'v' has the Arrow type null, which has no staging type"):
        staging_type(field)


def test_only_two_of_one_packing_understand_each_other(source: psycopg.Connection, source_db: str) -> None:
    class Other:
        packing = "another"

    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    same = PostgresDestination(PostgresAccess("dbname=b"), TableName("t"))
    for destination, expected in ((object(), False), (Other(), False), (same, True)):
        reading = PostgresSource(PostgresAccess(source_db), STREAM)
        let_pack(reading, cast("Destination", destination))
        assert is_packed(batches_of(reading)[0].schema) is expected
    let_pack(cast("Source", Other()), same)  # which could not pack
