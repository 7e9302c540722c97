"""Rows through a transform, in either form of the journey: types, counts, failed records, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.transform_sql import SqlTransform
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.failed_records import find, replay_all
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.lookup import read_lookup_table
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.carrying import FORMS, Carrier, Form

if TYPE_CHECKING:
    import psycopg

STREAM = Stream(sync_key="people", cursor_field="updated_at", table=TableName("people"))
TARGET = TableName("people")
PEOPLE = 2_500
CREATE = f"""
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE people (
    id integer PRIMARY KEY, uid uuid NOT NULL DEFAULT gen_random_uuid(), email varchar(40), country char(2),
    salary numeric(10, 2), mood mood DEFAULT 'ok', tags text[], likes jsonb, valid_to timestamptz,
    updated_at timestamptz NOT NULL
);
INSERT INTO people (id, email, country, salary, tags, likes, valid_to, updated_at)
SELECT
    n, 'person' || n || '@example.com', CASE n % 2 WHEN 0 THEN 'de' ELSE 'fr' END, n + 0.25, ARRAY['a,b', NULL],
    '{{"b": 1,  "a": 2}}',
    CAST((ARRAY['infinity', '-infinity', '0044-03-15 BC', '4000-01-01'])[n % 4 + 1] AS timestamptz),
    timestamptz '2026-01-01 00:00:00.5+00' + n * interval '1 second'
FROM generate_series(1, {PEOPLE}) AS n
"""


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, source: psycopg.Connection, tmp_path: Path) -> Carrier:
    source.execute(CREATE)
    return Carrier(source_db, warehouse_db, tmp_path)


def column_types(connection: psycopg.Connection) -> dict[str, str]:
    query = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'people'::regclass AND attnum > 0"""
    return dict(connection.execute(query).fetchall())


def rows_of(connection: psycopg.Connection, columns: str) -> list[tuple[Any, ...]]:
    connection.execute("SET TimeZone = 'UTC'")
    query = f"SELECT ROW({columns})::text FROM people ORDER BY id"
    return connection.execute(query).fetchall()


def as_it_is(rows: pa.Table) -> object:
    return rows


TRANSFORMS: dict[str, Callable[[pa.Table], object]] = {
    "pyarrow": as_it_is,
    "polars": pl.from_arrow,
    "duckdb": SqlTransform("SELECT * FROM batch"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_passes_unchanged_keeps_types_and_values(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, name: str
) -> None:
    carrier.transform = TRANSFORMS[name]
    assert carrier.chain(STREAM, TARGET) == Counts(inserted=PEOPLE)
    assert column_types(warehouse) == {**column_types(source), "mood": "text"}
    columns = "id, uid, email, country, salary, mood, tags, likes, valid_to, updated_at"
    assert rows_of(warehouse, columns) == rows_of(source, columns)
    source.execute("UPDATE people SET updated_at = now(), likes = NULL WHERE id <= 3")
    counts = carrier.chain(STREAM, TARGET)
    assert (counts.inserted, counts.updated, counts.errors) == (0, 3, 0)
    assert rows_of(warehouse, columns) == rows_of(source, columns)


QUERY = """
SELECT
    batch.* EXCLUDE (email, tags, mood, country), upper(email) AS email, countries.name AS country_name,
    CAST(salary AS DECIMAL(12, 2)) * 2 AS double_salary, [id, 2] AS numbers, id % 2 = 0 AS is_even
FROM batch
LEFT JOIN countries ON countries.code = batch.country
WHERE id <> 7
"""


@pytest.mark.parametrize("form", FORMS)
def test_new_columns_get_types_from_values_and_dropped_rows_are_skipped(
    carrier: Carrier, warehouse: psycopg.Connection, warehouse_db: str, form: Form
) -> None:
    warehouse.execute("CREATE TABLE countries AS VALUES ('de', 'Germany'), ('fr', 'France')")
    warehouse.execute("ALTER TABLE countries RENAME column1 TO code")
    warehouse.execute("ALTER TABLE countries RENAME column2 TO name")
    countries = read_lookup_table(PostgresAccess(warehouse_db), "countries", TableName("countries"))
    carrier.transform = SqlTransform(QUERY, {"countries": countries})
    assert carrier.carry(form, STREAM, TARGET) == Counts(inserted=PEOPLE - 1, skipped=1)
    types = column_types(warehouse)
    assert {name: types[name] for name in ("double_salary", "numbers", "is_even", "country_name", "email")} == {
        "double_salary": "numeric", "numbers": "jsonb", "is_even": "boolean", "country_name": "text",
        "email": "character varying(40)",
    }  # fmt: skip
    found = warehouse.execute("SELECT email, country_name, double_salary, numbers FROM people WHERE id = 2").fetchall()
    assert [tuple(map(str, row)) for row in found] == [("PERSON2@EXAMPLE.COM", "Germany", "4.50", "[2, 2]")]
    assert warehouse.execute("SELECT count(*) FROM people WHERE id = 7").fetchone() == (0,)
    processed = "SELECT inserted + updated + skipped + errors FROM etl_sync.sync_run"
    assert warehouse.execute(processed).fetchall() == [(PEOPLE,)]


def test_a_value_that_outgrows_its_type_is_not_cut(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    carrier.transform = SqlTransform("SELECT * REPLACE (email || repeat('!', 30) AS email) FROM batch")
    carrier.chain(STREAM, TARGET)
    longest = "SELECT max(length(email)) FROM people"
    assert warehouse.execute(longest).fetchone() == (len(f"person{PEOPLE}@example.com") + 30,)
    assert column_types(warehouse)["email"] == "character varying"


def refuse_some(rows: pa.Table) -> pa.Table:
    bad = [id_ for id_ in rows.column("id").to_pylist() if id_ in (5, 1_700, 2_500)]
    if bad:
        raise ValueError(f"no rule for {rows.column('email').to_pylist()[0]}")
    return rows.append_column("is_checked", pa.array([True] * len(rows)))


@pytest.mark.parametrize("form", FORMS)
def test_rows_on_which_it_fails_become_failed_records(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str, form: Form
) -> None:
    carrier.transform = refuse_some
    rules = LoadRules(max_errors=3)
    assert carrier.carry(form, STREAM, TARGET, rules) == Counts(inserted=PEOPLE - 3, errors=3)
    state = PostgresAccess(warehouse_db).engine()
    records = find(state)
    assert [record.record.key for record in records] == [("5",), ("1700",), ("2500",)]
    assert all(record.record.is_untransformed for record in records)
    first = records[0].record
    assert first.error == "ValueError: no rule for person5@example.com"
    assert (first.payload["email"], first.payload["salary"]) == ("person5@example.com", "5.25")
    assert first.payload["updated_at"] == "2026-01-01 00:00:05.5+00"
    assert first.payload["valid_to"] is not None and "is_checked" not in first.payload

    with pytest.raises(ConfigurationError, match=r"3 failed records .* the transform of their sync"):
        replay_all(lambda _: carrier.destination(TableName("people")), state, "people", RunIdentity("d", "t", "r"))
    assert len(find(state)) == 3

    carrier.transform = as_it_is
    source.execute("UPDATE people SET updated_at = now() WHERE id = 1700")
    carrier.carry(form, STREAM, TARGET, rules)
    assert [record.record.key for record in find(state)] == [("5",), ("2500",)], "a row that is read again closes it"


@pytest.mark.parametrize("form", FORMS)
def test_without_tolerance_a_failing_row_fails_the_run_and_no_value_is_told(
    carrier: Carrier, warehouse: psycopg.Connection, form: Form, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.transform = refuse_some
    with pytest.raises(DataError, match=r"ValueError, test_transforms\.py line") as failed:
        carrier.carry(form, STREAM, TARGET)
    assert failed.value.__cause__ is None and failed.value.__suppress_context__
    assert "@example.com" not in str(failed.value) + caplog.text
    assert warehouse.execute("SELECT watermark FROM etl_sync.watermark").fetchall() == []
    carrier.transform = as_it_is
    assert carrier.carry(form, STREAM, TARGET).errors == 0


def test_a_row_that_fails_again_stays_open_though_another_of_its_key_is_loaded(
    carrier: Carrier, source: psycopg.Connection, warehouse_db: str
) -> None:
    source.execute("CREATE TABLE visits AS VALUES (1, 'bad', now()), (1, 'good', now())")
    for number, name in enumerate(("id", "what", "updated_at"), start=1):
        source.execute(f"ALTER TABLE visits RENAME column{number} TO {name}")
    visits = Stream(sync_key="visits", cursor_field="updated_at", table=TableName("visits"), primary_key=("id",))
    carrier.transform = SqlTransform("SELECT * REPLACE (if(what = 'bad', error(what), what) AS what) FROM batch")
    for failures in (1, 2):
        assert carrier.chain(visits, TableName("visits"), LoadRules(max_errors=1)).errors == 1
        assert [record.failures for record in find(PostgresAccess(warehouse_db).engine())] == [failures]
        source.execute("UPDATE visits SET updated_at = now()")


def test_more_failures_than_are_tolerated_leave_the_chunk_alone(
    carrier: Carrier, warehouse: psycopg.Connection
) -> None:
    carrier.chunk_rows = PEOPLE
    carrier.transform = refuse_some
    with pytest.raises(DataError, match="fails on more than 2 rows of one chunk"):
        carrier.chain(STREAM, TARGET, LoadRules(max_errors=2))
    assert warehouse.execute("SELECT to_regclass('people')").fetchone() == (None,)


def test_rows_that_fail_on_either_side_are_counted_together(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE people (id integer PRIMARY KEY CHECK (id <> 9), updated_at timestamptz)")
    carrier.transform = lambda rows: refuse_some(rows).select(["id", "updated_at"])
    with pytest.raises(DataError):
        carrier.chain(STREAM, TARGET, LoadRules(max_errors=1))
    carrier.run_id += "-again"
    assert carrier.chain(STREAM, TARGET, LoadRules(max_errors=4)) == Counts(inserted=PEOPLE - 4, errors=4)


def test_rows_that_were_staged_packed_are_refused(
    carrier: Carrier, source_db: str, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    packing = PostgresSource(PostgresAccess(source_db), STREAM)
    packing.pack()
    extraction = extract(
        packing, PostgresAccess(warehouse_db).engine(), carrier.staging, stream=STREAM, rules=WindowRules(),
        identity=RunIdentity("dag", "extract", "packed"), chunk_rows=PEOPLE,
    )  # fmt: skip
    carrier.transform = as_it_is
    with pytest.raises(ConfigurationError, match="staged packed"):
        carrier.load(extraction, TARGET)
    carrier.transform = None
    assert carrier.load(extraction, TARGET) == Counts(inserted=PEOPLE)


def test_a_table_without_rows_is_made_as_the_transform_gives_it(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("TRUNCATE people")
    carrier.transform = SqlTransform("SELECT id, updated_at, lower(email) AS contact FROM batch")
    assert carrier.chain(STREAM, TARGET) == Counts()
    assert column_types(warehouse) == {"id": "integer", "updated_at": "timestamp with time zone", "contact": "text"}


def test_a_transform_that_leaves_everything_out(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    carrier.transform = lambda rows: rows.filter(pc.less(rows.column("id"), 0))
    assert carrier.chain(STREAM, TARGET) == Counts(skipped=PEOPLE)
    assert warehouse.execute("SELECT count(*) FROM people").fetchone() == (0,)


def test_a_transform_that_fails_on_everything(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    def fail(rows: pa.Table) -> pa.Table:
        raise KeyError(len(rows))

    source.execute("DELETE FROM people WHERE id > 40")
    carrier.transform = fail
    assert carrier.chain(STREAM, TARGET, LoadRules(max_error_percent=100)) == Counts(errors=40)
    assert warehouse.execute("SELECT to_regclass('people')").fetchone() == (None,)
    source.execute("SET TimeZone = 'UTC'")
    names = "id uid email country salary mood tags likes updated_at".split()
    texts = ", ".join(f"{name}::text" for name in names)
    rows = source.execute(f"SELECT {texts}, valid_to::text FROM people WHERE id % 4 <> 2").fetchall()
    payloads = {each.record.key: each.record.payload for each in find(PostgresAccess(warehouse_db).engine())}
    for *values, valid_to in rows:
        payload = payloads[(values[0],)]
        assert [payload[name] for name in names] == values
        assert payload["valid_to"] == valid_to
