"""What databases other than PostgreSQL hold of PostgreSQL's values: exactly, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.errors import DataError, EtlSyncError, SchemaError
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.base import Destination, Mark, Merged, MergeKeys, Tolerance
from airflow_etl_sync.systems.database.access import mysql_access
from airflow_etl_sync.systems.database.destination import DatabaseDestination
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.contract.systems import DestinationSystem, MariaDbSystem, SqlAlchemySystem, SqliteSystem
from tests.mariadb import MariaDb, new_mariadb

_numbers = count()
FREEZE = LoadRules(schema_contract="freeze")  # no column is widened
STREAM = Stream(sync_key="s", cursor_field="id", table=TableName("t"))
INSTANT = datetime.fromisoformat("2026-01-02 01:04:05.123456")
HELD: dict[str, list[tuple[str, str, Any, Any]]] = {
    # PostgreSQL's type, a literal, and what MariaDB and SQLite hold of it
    "numbers": [
        ("smallint", "-32768", -32768, -32768),
        ("integer", "2147483647", 2147483647, 2147483647),
        ("bigint", "-9223372036854775808", -(2**63), -(2**63)),
        ("numeric(30,10)", "12345678901234567890.0123456789", Decimal("12345678901234567890.0123456789"),
         "12345678901234567890.0123456789"),
        ("numeric", "1.10", Decimal("1.10"), "1.10"),
        ("real", "16777217.1", 16777218.0, 16777218.0),
        ("real", "0.1", 0.10000000149011612, 0.10000000149011612),
        ("double precision", "0.1::float8 + 0.2::float8", 0.30000000000000004, 0.30000000000000004),
        ("double precision", "'5e-324'", 5e-324, 5e-324),
        ("double precision", "'1.7976931348623157e308'", 1.7976931348623157e308, 1.7976931348623157e308),
        ("boolean", "true", 1, 1),
    ],
    "times": [
        ("date", "'0001-01-01'", date(1, 1, 1), "0001-01-01"),
        ("date", "'9999-12-31'", date(9999, 12, 31), "9999-12-31"),
        ("timestamp", "'9999-12-31 23:59:59.999999'", datetime.fromisoformat("9999-12-31 23:59:59.999999"),
         "9999-12-31 23:59:59.999999"),
        ("timestamptz", "'2026-01-02 03:04:05.123456+02'", INSTANT, "2026-01-02 01:04:05.123456+00:00"),
        ("timestamptz", "'2026-10-25 00:30:00+00'", datetime.fromisoformat("2026-10-25 00:30"),
         "2026-10-25 00:30:00+00:00"),
        ("time", "'23:59:59.999999'", timedelta(hours=24) - timedelta(microseconds=1), "23:59:59.999999"),
        ("interval", "'1 day 02:03:04'", "P1DT2H3M4S", "P1DT2H3M4S"),
    ],
    "texts": [
        ("text", "E'höl 😀 \\n\\t\\\\ ''%s\" '", "höl 😀 \n\t\\ '%s\" ", "höl 😀 \n\t\\ '%s\" "),
        ("varchar(10)", "'Ab '", "Ab ", "Ab "),
        ("char(4)", "'x'", "x   ", "x   "),
        ("uuid", "'00112233-4455-6677-8899-aabbccddeeff'", "00112233-4455-6677-8899-aabbccddeeff",
         "00112233-4455-6677-8899-aabbccddeeff"),
        ("jsonb", "'{\"a\": 1.10}'", '{"a": 1.10}', '{"a": 1.10}'),
        ("bytea", "'\\x00ff27'", b"\x00\xff'", b"\x00\xff'"),
        ("integer[]", "'{{1,2},{3,NULL}}'", "{{1,2},{3,NULL}}", "{{1,2},{3,NULL}}"),
        ("inet", "'10.0.0.1/8'", "10.0.0.1/8", "10.0.0.1/8"),
    ],
}  # fmt: skip


@pytest.fixture
def mariadb(new_database: Any) -> Any:
    with new_mariadb() as database:
        yield MariaDbSystem(database, new_database("state"))


@pytest.fixture
def sqlite(new_database: Any, tmp_path: Path) -> SqliteSystem:
    return SqliteSystem(tmp_path / "warehouse.db", new_database("state"))


@pytest.fixture
def by_sqlalchemy(new_database: Any) -> SqlAlchemySystem:
    return SqlAlchemySystem(new_database("warehouse"), new_database("state"))


def run(source_db: str, system: DestinationSystem, rules: LoadRules | None = None) -> Counts:
    return sync(
        PostgresSource(PostgresAccess(source_db), STREAM), system.destination("t"), stream=STREAM,
        window_rules=WindowRules(full_refresh=True), load_rules=rules or LoadRules(),
        identity=RunIdentity("d", "t", f"run-{next(_numbers)}"), chunk_rows=1000,
    ).counts  # fmt: skip


def fill(source: psycopg.Connection, kind: str) -> list[tuple[str, str, Any, Any]]:
    held = HELD[kind]
    columns = ", ".join(f"v{n} {type_}" for n, (type_, *_) in enumerate(held))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, {', '.join(literal for _, literal, *_ in held)})")
    source.execute("INSERT INTO t (id) VALUES (2)")
    return held


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("name", ["mariadb", "sqlite"])
def test_every_value_of_postgresql_is_held_as_it_is(
    source_db: str, source: psycopg.Connection, request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    held, system = fill(source, kind), request.getfixturevalue(name)
    assert run(source_db, system) == Counts(inserted=2)
    first, second = system.rows("t")
    for (type_, *expected), found in zip(held, first[1:], strict=True):
        assert found == expected[1 if name == "mariadb" else 2], type_
    assert set(second[1:]) == {None}
    assert run(source_db, system) == Counts(skipped=2)


@pytest.mark.parametrize("kind", HELD)
def test_every_value_comes_back_from_another_postgresql_by_sqlalchemy(
    source_db: str, source: psycopg.Connection, by_sqlalchemy: SqlAlchemySystem, kind: str
) -> None:
    fill(source, kind)
    assert run(source_db, by_sqlalchemy) == Counts(inserted=2)
    assert run(source_db, by_sqlalchemy) == Counts(skipped=2)
    with psycopg.connect(by_sqlalchemy.conninfo) as connection:
        for place, (type_, literal, *_) in enumerate(HELD[kind]):
            declared = "float8" if type_ == "real" else type_
            found = connection.execute(f"SELECT v{place}::{declared}::text FROM t WHERE id = 1").fetchone()
            asked = f"SELECT ({literal})::{type_}::{declared}::text"
            assert found == source.execute(asked).fetchone(), type_


def merge(
    destination: Destination,
    rows: list[dict[str, Any]],
    types: dict[str, str],
    rules: LoadRules | None = None,
    errors: int = 0,
) -> Merged:
    """Load rows of which each value is PostgreSQL's text."""
    tables.ensure(destination.engine)
    schema = pa.schema([noted(name, pa.string(), ColumnTypes(type_, type_)) for name, type_ in types.items()])
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    number = next(_numbers)
    staged = destination.stage(f"stage_{number}", schema, [batch])
    mark = Mark(sync_key="s", extraction_id=f"r{number}", number=0, turn=number, overtakes=True, yields=True)
    with destination.engine.begin() as connection:
        return destination.merge(
            connection, replace(staged, mark=mark), len(rows), MergeKeys(("id",), "id"), rules or LoadRules(),
            Tolerance(errors=errors),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "type_", "value", "said"),
    [
        ("varchar(3)", "text", "abcd", "error 1406"),
        ("tinyint", "integer", "128", "error 1264"),
        ("decimal(5,2)", "numeric", "1.005", "Values of column v do not fit"),
        ("decimal(5,2)", "numeric", "1000.5", "error 1264"),
        ("double", "numeric", "12345678901234567890.5", "Values of column v do not fit"),
        ("datetime", "timestamp without time zone", "2026-01-02 03:04:05.6", "Values of column v do not fit"),
        ("date", "timestamp without time zone", "2026-01-02 03:04:05", "Values of column v do not fit"),
        ("int", "double precision", "1.5", "Values of column v do not fit"),
        ("float", "double precision", "0.1", "Values of column v do not fit"),
        ("int", "text", "1x", "error 1366|error 1265"),
        ("int", "text", " 7", "Values of column v do not fit"),
        ("char(5)", "text", "a ", "Values of column v do not fit"),
        ("varchar(9) CHARACTER SET latin1", "text", "😀", "error 1366"),
        ("enum('a')", "text", "b", "error 1265"),
        ("timestamp(6) NULL", "timestamp with time zone", "2999-01-01 00:00:00+00", "error 1292"),
        ("double", "double precision", "NaN", "has neither NaN nor infinity"),
        ("decimal(65,30)", "numeric", "NaN", "has neither NaN nor infinity"),
        ("datetime(6)", "timestamp without time zone", "infinity", "holds a value, such as infinity"),
        ("date", "date", "0044-03-15 BC", "holds a value, such as infinity"),
        ("int NOT NULL", "integer", None, "error 1048"),
        ("int CHECK (v > 0)", "integer", "-1", "error 4025"),
        ("int UNIQUE", "integer", "7", "error 1062"),
    ],
)
def test_mariadb_refuses_the_row_whose_value_it_would_bend(
    mariadb: MariaDbSystem, column: str, type_: str, value: str | None, said: str
) -> None:
    mariadb.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {column})",
        "INSERT INTO t VALUES (9, 7)" if "UNIQUE" in column else "DO 1",
    )  # fmt: skip
    types = {"id": "integer", "v": type_}
    before = mariadb.rows("t")
    with pytest.raises(DataError, match=said) as refused:
        merge(mariadb.destination("t"), [{"id": "1", "v": value}], types, FREEZE)
    assert "\n" not in str(refused.value) and not any(f"'{word}'" in str(refused.value) for word in ("abcd", "1x", "b"))
    assert mariadb.rows("t") == before
    merged = merge(mariadb.destination("t"), [{"id": "1", "v": value}], types, replace(FREEZE, max_errors=1), errors=1)
    assert merged.counts == Counts(errors=1)
    assert merged.failed[0].payload == {"id": "1", "v": value}
    assert mariadb.rows("t") == before


@pytest.mark.parametrize(
    ("column", "type_", "value"),
    [
        ("NUMERIC", "numeric", "12345678901234567890.5"),
        ("INTEGER", "double precision", "NaN"),
        ("INTEGER CHECK (v > 0)", "integer", "-1"),
        ("TEXT", "date", "infinity"),
    ],
)
def test_sqlite_refuses_the_row_whose_value_it_would_bend(
    sqlite: SqliteSystem, column: str, type_: str, value: str
) -> None:
    sqlite.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {column})")
    types = {"id": "integer", "v": type_}
    rows: list[dict[str, Any]] = [{"id": "1", "v": value}, {"id": "2", "v": None}]
    with pytest.raises(DataError):
        merge(sqlite.destination("t"), rows, types)
    assert merge(sqlite.destination("t"), rows, types, LoadRules(max_errors=1), errors=1).counts == Counts(
        inserted=1, errors=1
    )
    assert sqlite.rows("t") == [(2, None)]


def test_a_made_table_tells_keys_apart_by_every_letter_and_blank(mariadb: MariaDbSystem) -> None:
    keys = ["a", "A", "a ", "ä", "Ä", "ß", "ss", "a\u0301", "á", "0", "00"]
    rows: list[dict[str, Any]] = [{"id": key, "v": key} for key in keys]
    types = {"id": "text", "v": "text"}
    assert merge(mariadb.destination("t"), rows, types).counts == Counts(inserted=len(keys))
    assert sorted(row[0] for row in mariadb.rows("t")) == sorted(keys)
    assert merge(mariadb.destination("t"), rows, types).counts == Counts(skipped=len(keys))


def test_keys_that_a_table_takes_for_one_are_refused_and_never_written_over_each_other(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY, v int)")
    types = {"id": "text", "v": "integer"}
    assert merge(mariadb.destination("t"), [{"id": "a", "v": "1"}], types).counts == Counts(inserted=1)
    with pytest.raises(DataError, match="error 1062"):
        merge(mariadb.destination("t"), [{"id": "A", "v": "2"}], types)
    rows = [{"id": "A", "v": "2"}, {"id": "a", "v": "3"}, {"id": "b", "v": "4"}, {"id": "B", "v": "5"}]
    merged = merge(mariadb.destination("t"), rows, types, LoadRules(max_errors=2), errors=2)
    assert merged.counts == Counts(inserted=1, updated=1, errors=2)
    assert [(row["id"], row["v"]) for row in (each.payload for each in merged.failed)] == [("A", "2"), ("b", "4")]
    assert mariadb.rows("t") == [("a", 3), ("B", 5)]


def test_zero_is_a_key_like_any_other(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v int)")
    assert merge(mariadb.destination("t"), [{"id": "0", "v": "1"}], {"id": "integer", "v": "integer"}).counts == Counts(
        inserted=1
    )
    assert mariadb.rows("t") == [(0, 1)]


def test_a_server_that_is_not_strict_is_strict_for_loads(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(2))")
    lax: MariaDb = mariadb.database
    access = mysql_access(
        host=lax.host, port=lax.port, login=lax.login, password=lax.password, database=lax.database,
        options={"init_command": "SET SESSION sql_mode = ''"},
    )  # fmt: skip
    destination = DatabaseDestination(access, TableName("t"), PostgresAccess(mariadb.state).engine())
    with pytest.raises(DataError, match="error 1406"):
        merge(destination, [{"id": "1", "v": "abc"}], {"id": "integer", "v": "text"}, FREEZE)
    assert mariadb.rows("t") == []


def test_a_table_without_transactions_is_refused(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY, v int) ENGINE = MyISAM")
    with pytest.raises(SchemaError, match="storage engine MyISAM, which has no transactions"):
        merge(mariadb.destination("t"), [{"id": "1", "v": "1"}], {"id": "integer", "v": "integer"})
    assert mariadb.rows("t") == []


def test_a_single_float_is_compared_with_all_its_digits(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY, v float)")
    rows, types = [{"id": "1", "v": "16777216"}, {"id": "2", "v": "0.1"}], {"id": "integer", "v": "real"}
    assert merge(mariadb.destination("t"), rows, types).counts == Counts(inserted=2)
    assert merge(mariadb.destination("t"), rows, types).counts == Counts(skipped=2)


def test_names_are_taken_literally(request: pytest.FixtureRequest) -> None:
    types = {"id": "integer", 'c:x %d "q"': "text", "sel ect": "integer", "%(x)s": "integer"}
    for name in ("mariadb", "sqlite", "by_sqlalchemy"):
        system = request.getfixturevalue(name)
        for value, counts in (("1", Counts(inserted=1)), ("2", Counts(updated=1)), ("2", Counts(skipped=1))):
            rows = [{"id": "1", 'c:x %d "q"': value, "sel ect": value, "%(x)s": value}]
            assert merge(system.destination("Or der%s"), rows, types).counts == counts, name
        added = {**types, "new %s:z": "text"}
        rows = [{"id": "1", 'c:x %d "q"': "2", "sel ect": "2", "%(x)s": "2", "new %s:z": "y"}]
        assert merge(system.destination("Or der%s"), rows, added).counts == Counts(updated=1), name


def test_a_key_of_several_columns_and_a_moment_of_the_last_change(request: pytest.FixtureRequest) -> None:
    types = {"id": "integer", "place": "text", "at": "timestamp with time zone", "v": "integer"}
    rules = LoadRules(primary_key=("id", "place", "at"), synced_at_column="synced_at")
    rows = [
        {"id": str(n % 3), "place": f"p{n % 2}", "at": f"2026-01-01 00:00:{n:02d}+00", "v": "1"} for n in range(12)
    ]  # fmt: skip
    for name in ("mariadb", "sqlite", "by_sqlalchemy"):
        destination = request.getfixturevalue(name).destination("t")
        assert merge(destination, rows, types, rules).counts == Counts(inserted=12), name
        changed = [{**row, "v": "2"} if n < 4 else row for n, row in enumerate(rows)]
        assert merge(destination, changed, types, rules).counts == Counts(updated=4, skipped=8), name
        assert all(row[-1] is not None for row in request.getfixturevalue(name).rows("t"))


def test_rows_that_need_each_other_find_each_other(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY, v int, FOREIGN KEY (v) REFERENCES t (id))")
    rows: list[dict[str, Any]] = [{"id": "1", "v": "2"}, {"id": "2", "v": None}, {"id": "3", "v": "99"}]
    types = {"id": "integer", "v": "integer"}
    merged = merge(mariadb.destination("t"), rows, types, LoadRules(max_errors=1), errors=1)
    assert merged.counts == Counts(inserted=2, errors=1)
    assert mariadb.rows("t") == [(1, 2), (2, None)]


def test_what_cannot_be_merged_into_is_refused_in_one_sentence(mariadb: MariaDbSystem) -> None:
    mariadb.execute(
        "CREATE TABLE t (id int, v int, PRIMARY KEY (v))",
        "CREATE TABLE needs (id int PRIMARY KEY, other int NOT NULL)",
        "CREATE TABLE part (id varchar(20), v int, UNIQUE INDEX (id(3)))",
    )
    types = {"id": "integer", "v": "integer"}
    for table, rules, said in (
        ("t", LoadRules(), "has no primary key or unique index on exactly"),
        ("needs", LoadRules(schema_contract="discard_column"), "NOT NULL without a default"),
        ("absent", LoadRules(create_table=False), "create_table is off"),
        ("t", LoadRules(primary_key=("nope",)), "has no column 'nope'"),
    ):
        with pytest.raises(EtlSyncError, match=said) as refused:
            merge(mariadb.destination(table), [{"id": "1", "v": "1"}], types, rules)
        assert "\n" not in str(refused.value) and not refused.value.is_retryable
