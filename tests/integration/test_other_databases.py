"""What is special about MariaDB and SQLite as sources."""

from __future__ import annotations

import logging
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_etl_sync.core.model import CursorValue, Stream, TableName, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError, SourceError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems import bounds
from airflow_etl_sync.systems.database import access
from airflow_etl_sync.systems.database.access import mysql_access, sqlite_access
from airflow_etl_sync.systems.database.source import DatabaseSource
from tests.mariadb import REQUIRED, MariaDb, new_mariadb

STREAM = Stream(sync_key="s", cursor_field="id", table=TableName("t"))
BY_TIME = replace(STREAM, cursor_field="at")
MANY = 400_000


@pytest.fixture
def mariadb() -> Iterator[MariaDb]:
    with new_mariadb() as database:
        yield database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


def fill(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def high(source: DatabaseSource, **rules: Any) -> str:
    found = source.open_window(Watermark(), WindowRules(**rules)).window.high
    assert found is not None
    return found.text


def rows(source: DatabaseSource, window: Window | None = None) -> list[dict[str, Any]]:
    return [row for batch in source.read(window or Window(), None) for row in batch.to_pylist()]


# -- reading ----------------------------------------------------------------------------------------------


def test_a_large_table_is_streamed_and_may_be_left_at_any_row(mariadb: MariaDb) -> None:
    mariadb.execute(
        "CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v varchar(200))",
        f"INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_{MANY}",
    )
    source = DatabaseSource(mariadb.access, STREAM)
    source.describe()
    tracemalloc.start()
    largest = max(batch.nbytes for batch in _until(source, MANY // 10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest < 5_000_000 and peak < 60_000_000
    began = time.monotonic()
    batches = source.read(Window(), None)
    assert [next(batches).num_rows for _ in range(4)][:1] == [0]
    reading = time.monotonic() - began
    batches.close()
    assert time.monotonic() - began - reading < reading  # the rest is not read


def _until(source: DatabaseSource, rows: int) -> Iterator[Any]:
    with closing(source.read(Window(), None)) as batches:
        for batch in batches:
            yield batch
            rows -= batch.num_rows
            if rows < 0:
                return


def test_a_key_that_is_an_enum_is_read_in_one_order(mariadb: MariaDb) -> None:
    mariadb.execute(
        "CREATE TABLE t (id enum('b', 'a', 'ü', 'c') NOT NULL PRIMARY KEY, c integer)",
        "INSERT INTO t VALUES ('b', 1), ('a', 1), ('ü', 1), ('c', 1)",
    )
    source = DatabaseSource(mariadb.access, replace(STREAM, cursor_field="c"))
    [_, batch] = source.read(Window(), None)
    whole = batch.column("id").to_pylist()
    for size in range(1, 5):
        [*rest] = source.read(Window(), source.position(batch.slice(0, size)))
        assert [value for each in rest for value in each.column("id").to_pylist()] == whole[size:]


def test_what_is_read_is_one_snapshot(mariadb: MariaDb) -> None:
    mariadb.execute(
        "CREATE TABLE t (id integer NOT NULL PRIMARY KEY, c integer)", "INSERT INTO t VALUES (1, NULL), (2, 2)"
    )
    source = DatabaseSource(mariadb.access, replace(STREAM, cursor_field="c"))
    with closing(source.read(Window(low=CursorValue("integer", "0")), None)) as batches:
        first = next(batches)
        mariadb.execute("INSERT INTO t VALUES (3, NULL), (4, 4)")
        rest = [row["id"] for batch in batches for row in batch.to_pylist()]
    assert [*first.column("id").to_pylist(), *rest] == [1, 2]


@pytest.mark.parametrize(
    ("type_", "value"), [("date", "'0000-00-00'"), ("date", "'2026-00-10'"), ("datetime", "0"), ("timestamp", "0")]
)
def test_zero_dates_are_refused_in_words(mariadb: MariaDb, type_: str, value: str) -> None:
    mariadb.execute(
        "SET SESSION sql_mode = ''", f"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v {type_})",
        f"INSERT INTO t VALUES (1, {value})",
    )  # fmt: skip
    with pytest.raises(DataError, match=rf"Column 'v' is {type_}.* and holds values .* no calendar has"):
        rows(DatabaseSource(mariadb.access, STREAM))
    query = replace(STREAM, table=None, sql="SELECT id, NULLIF(v, 0) AS v FROM t WHERE v IS NULL", primary_key=("id",))
    assert rows(DatabaseSource(mariadb.access, query)) == []


def test_text_with_nul_is_refused(mariadb: MariaDb) -> None:
    mariadb.execute("CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a\\0b')")
    with pytest.raises(DataError, match="Column 'v' holds the character NUL"):
        rows(DatabaseSource(mariadb.access, STREAM))


# -- windows ----------------------------------------------------------------------------------------------


def test_a_commit_that_is_late_by_less_than_the_lag_is_not_lost(
    mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.execute("CREATE TABLE t (id integer NOT NULL PRIMARY KEY, at timestamp(6) NULL)")
    source = DatabaseSource(mariadb.access, BY_TIME)
    with mariadb.connect() as writer, writer.cursor() as cursor:
        writer.begin()
        cursor.execute("INSERT INTO t VALUES (1, now(6))")
        time.sleep(1.1)
        mariadb.execute("INSERT INTO t VALUES (2, now(6))")
        opened = source.open_window(Watermark(), WindowRules())
        assert [row["id"] for row in rows(source, opened.window)] == [2]
        writer.commit()
    assert opened.window.protection == "fixed distance of 0:05:00, as no lag is set"
    again = source.open_window(Watermark(cursor=opened.window.high), WindowRules(lag=timedelta(minutes=9)))
    assert again.window.protection == "fixed distance of 0:09:00"
    assert {row["id"] for row in rows(source, again.window)} == {1, 2}


def test_the_clock_is_the_servers_and_local_times_are_in_its_zone(mariadb: MariaDb) -> None:
    two_hours_ahead = "SET SESSION time_zone = '+02:00'"  # what a server in such a zone gives every session
    mariadb.execute(
        two_hours_ahead,
        "CREATE TABLE t (id integer NOT NULL PRIMARY KEY, at datetime, ts timestamp NULL)",
        "INSERT INTO t VALUES (1, now(), now())",
    )
    there = mysql_access(
        host=mariadb.host, port=mariadb.port, login=mariadb.login, password=mariadb.password,
        database=mariadb.database, options={"init_command": two_hours_ahead},
    )  # fmt: skip
    utc = datetime.now(timezone.utc).replace(tzinfo=None)
    local = datetime.fromisoformat(high(DatabaseSource(there, BY_TIME), lag=timedelta(seconds=1)))
    assert timedelta(hours=1, minutes=55) < local - utc < timedelta(hours=2, minutes=5)
    instant = high(DatabaseSource(there, replace(STREAM, cursor_field="ts")), lag=timedelta(seconds=1))
    assert abs(datetime.fromisoformat(instant.removesuffix("+00")) - utc) < timedelta(minutes=5)


@pytest.mark.parametrize("kind", ["datetime", "date"])
def test_times_written_in_a_zone_behind_the_servers_are_not_passed_over(mariadb: MariaDb, kind: str) -> None:
    mariadb.execute(
        f"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, at {kind})",
        "INSERT INTO t VALUES (1, utc_timestamp() - INTERVAL 30 HOUR)",
    )
    newest = mariadb.execute("SELECT CAST(at AS char) FROM t")[0][0]
    assert high(DatabaseSource(mariadb.access, BY_TIME), lag=timedelta(seconds=1)) < newest


def test_ids_drawn_and_not_committed_are_waited_for(mariadb: MariaDb) -> None:
    mariadb.execute(
        "CREATE TABLE t (id bigint unsigned NOT NULL PRIMARY KEY AUTO_INCREMENT)", "INSERT INTO t VALUES (5000)"
    )
    opened = DatabaseSource(mariadb.access, STREAM).open_window(Watermark(), WindowRules())
    assert opened.window.high == CursorValue("numeric", "4000")
    assert opened.window.protection == "fixed distance of 1000, as no lag is set"


def test_sqlite_takes_numbers_as_they_are(path: Path) -> None:
    fill(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (5000)")
    assert high(DatabaseSource(sqlite_access(path), STREAM)) == "5000"


@pytest.mark.parametrize("written", ["2026-01-01 10:00:00", "2026-01-01T10:00:00", "2026-01-01 10:00:00.000000"])
def test_sqlite_finds_a_time_however_it_is_written(path: Path, written: str) -> None:
    fill(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME)", f"INSERT INTO t VALUES (1, '{written}')")
    source = DatabaseSource(sqlite_access(path), BY_TIME)
    for start, end, found in (
        ("2026-01-01 10:00:00", "2026-01-01 11:00:00", [1]),
        ("2026-01-01 09:00:00", "2026-01-01 10:00:00", []),
        ("2026-01-01T10:00", "2026-01-02", [1]),
    ):
        window = source.open_window(Watermark(), WindowRules(range_start=start, range_end=end)).window
        assert [row["id"] for row in rows(source, window)] == found, (start, end)


def test_sqlite_refuses_times_that_are_numbers(path: Path) -> None:
    fill(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME)", "INSERT INTO t VALUES (1, 1767261600)")
    source = DatabaseSource(sqlite_access(path), BY_TIME)
    with pytest.raises(DataError, match="Column 'at' is DATETIME and holds numbers"):
        source.open_window(Watermark(), WindowRules())


@pytest.mark.parametrize(
    ("type_", "value"),
    [("INTEGER", "'one'"), ("TEXT", "x'00'"), ("BOOLEAN", "2"), ("DATETIME", "'yesterday'"), ("INTEGER", "1.5"),
     ("DATE", "'2026-01-01 10:00'"), ("BLOB", "'text'"), ("REAL", "'x'"), ("NUMERIC", "'x'")],
)  # fmt: skip
def test_sqlite_values_of_another_type_are_refused_by_column(path: Path, type_: str, value: str) -> None:
    fill(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {type_})", f"INSERT INTO t VALUES (1, {value})")
    with pytest.raises(DataError, match=f"Column 'v' is {type_} and holds values") as refused:
        rows(DatabaseSource(sqlite_access(path), STREAM))
    assert "yesterday" not in str(refused.value)


def test_a_query_of_sqlite_tells_its_types_by_its_values(path: Path) -> None:
    fill(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    query = Stream(
        sync_key="s", cursor_field="id", sql="SELECT id, id / 2.0 AS h, 'x' AS x FROM t", primary_key=("id",)
    )
    source = DatabaseSource(sqlite_access(path), query)
    assert [str(type_).partition(",")[0] for _, type_ in source.describe().columns] == [
        "bigint", "double precision", "text",
    ]  # fmt: skip
    assert rows(source) == [{"id": 1, "h": 0.5, "x": "x"}, {"id": 2, "h": 1.0, "x": "x"}]
    mixed = replace(query, sql="SELECT id, CASE id WHEN 1 THEN 'x' ELSE 1 END AS x FROM t")
    with pytest.raises(DataError, match="Column 'x' of the query holds values of more than one type"):
        DatabaseSource(sqlite_access(path), mixed).describe()


# -- what goes wrong --------------------------------------------------------------------------------------


def refused(source: DatabaseSource) -> EtlSyncError:
    with pytest.raises(EtlSyncError) as found:
        source.describe()
    assert "\n" not in str(found.value) and "se cret" not in str(found.value)
    return found.value


@pytest.mark.parametrize(
    ("changes", "said", "is_retryable"),
    [
        ({"password": "se cret"}, "Access denied for user", False),
        ({"database": "etl_sync_not_there"}, "Unknown database 'etl_sync_not_there'", False),
        ({"port": 1}, "Can't connect to MySQL server", True),
    ],
)
def test_who_is_to_blame(
    mariadb: MariaDb, changes: dict[str, Any], said: str, is_retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 0.2)
    login = {"host": mariadb.host, "port": mariadb.port, "login": "root", "password": "", "database": mariadb.database}
    error = refused(DatabaseSource(mysql_access(**(login | changes)), STREAM))  # type: ignore[arg-type]
    assert said in str(error) and error.is_retryable is is_retryable


def test_a_server_that_is_not_ready_is_waited_for(
    mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(access, "FIRST_WAIT_SECONDS", 0.05)
    nobody = mysql_access(host=mariadb.host, port=1, login="root", password="", database=None)
    with caplog.at_level(logging.INFO):
        assert isinstance(refused(DatabaseSource(nobody, STREAM)), SourceError)
    assert "mysql is not ready (connection refused), attempt 2" in caplog.text


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("no database, but a text that is long enough to be looked at " * 20)
    assert isinstance(refused(DatabaseSource(sqlite_access(path), STREAM)), ConfigurationError)


def test_reading_makes_no_file_and_changes_none(path: Path) -> None:
    assert isinstance(refused(DatabaseSource(sqlite_access(path), STREAM)), ConfigurationError)
    assert not path.exists()


def test_a_window_inside_a_query_is_for_postgres(path: Path) -> None:
    query = replace(STREAM, table=None, sql="SELECT * FROM t WHERE :window(id)", primary_key=("id",))
    with pytest.raises(ConfigurationError, match="has a :window, which goes with PostgreSQL only"):
        DatabaseSource(sqlite_access(path), query)


def test_a_mariadb_that_must_be_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SYNC_TEST_MARIADB_PORT", "1")
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no MariaDB at 127\.0\.0\.1:1"), new_mariadb():
        pass
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{REQUIRED} is set"), new_mariadb():
        pass


def test_the_default_distance_is_told_where_the_manual_tells_it() -> None:
    assert timedelta(minutes=5) == bounds.TIME_LAG
