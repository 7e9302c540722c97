"""The systems that are held to the contract, each as a test can fill and change it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import duckdb
import psycopg
from deltalake import DeltaTable
from psycopg.sql import SQL, Identifier

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.systems.base import Destination, PlanningSource
from airflow_etl_sync.systems.bigquery.destination import BigQueryDestination
from airflow_etl_sync.systems.database.access import DatabaseAccess, sqlite_access, sqlite_writer
from airflow_etl_sync.systems.database.destination import DatabaseDestination
from airflow_etl_sync.systems.database.source import DatabaseSource
from airflow_etl_sync.systems.delta.access import DeltaAccess
from airflow_etl_sync.systems.delta.destination import DeltaDestination
from airflow_etl_sync.systems.duckdb.destination import DuckDbDestination
from airflow_etl_sync.systems.http.source import HttpSource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource
from airflow_etl_sync.systems.snowflake.destination import SnowflakeDestination
from tests.bigquery_emulator import BigQuery
from tests.http_api import Api, Asked, Reply
from tests.mariadb import MariaDb
from tests.snowflake_emulator import Snowflake

DATABASES = ("postgres", "mariadb", "sqlite", "sqlalchemy")
SOURCES = (*DATABASES, "http", "files")
DESTINATIONS = (*DATABASES, "delta", "duckdb", "snowflake", "bigquery", "parquet")


class SourceSystem(Protocol):
    """A database that a test fills, and the source that reads it."""

    def execute(self, *statements: str) -> Any: ...

    def transaction(self, *statements: str) -> AbstractContextManager[None]:
        """A transaction that has run the statements, and is committed at the end of the block."""

    def source(self, stream: Stream) -> PlanningSource: ...

    @property
    def types(self) -> Types: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """How a system writes what the tests of all need.

    :param moment: the type of a time that a window goes by
    :param exact: by type a literal, and the same value as PostgreSQL writes it
    """

    moment: str
    now: str
    exact: Sequence[tuple[str, str, str]]


class DestinationSystem(Protocol):
    """A database into which a test loads."""

    def destination(self, table: str) -> Destination: ...

    def execute(self, *statements: str) -> Any: ...

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """The rows of a table, in the order of their first column."""


@dataclass(frozen=True, slots=True)
class PostgresSystem:
    conninfo: str

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[None]:
        with psycopg.connect(self.conninfo) as connection:
            for statement in statements:
                connection.execute(statement)
            yield

    def execute(self, *statements: str) -> Any:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def source(self, stream: Stream) -> PlanningSource:
        return PostgresSource(PostgresAccess(self.conninfo), stream)

    def destination(self, table: str) -> Destination:
        return PostgresDestination(PostgresAccess(self.conninfo), TableName(table))

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        query = SQL("SELECT * FROM {} ORDER BY 1").format(Identifier(table))
        with psycopg.connect(self.conninfo) as connection:
            return connection.execute(query).fetchall()

    types = Types(
        moment="timestamptz",
        now="clock_timestamp()",
        exact=(
            ("numeric(30,10)", "12345678901234567890.0123456789", "12345678901234567890.0123456789"),
            ("timestamp", "'2026-01-02 03:04:05.123456'", "2026-01-02 03:04:05.123456"),
            ("timestamptz", "'2026-01-02 03:04:05.123456+02'", "2026-01-02 01:04:05.123456+00"),
            ("bigint", "-9223372036854775808", "-9223372036854775808"),
            ("jsonb", "'{\"a\": 1.10}'", '{"a": 1.10}'),
            ("bytea", "'\\x00ff'", "\\x00ff"),
            ("text", "'höl 😀'", "höl 😀"),
            ("interval", "'838:59:59'", "838:59:59"),
            ("bit(12)", "B'101010101010'", "101010101010"),
        ),
    )


@dataclass(frozen=True, slots=True)
class SqlAlchemySystem(PostgresSystem):
    """A database of which nothing is known but what SQLAlchemy says of any.

    :param state: the conninfo of the state's database, where rows are loaded into this one
    """

    state: str = ""

    def destination(self, table: str) -> Destination:
        access = DatabaseAccess(PostgresAccess(self.conninfo).engine)
        return DatabaseDestination(access, TableName(table), PostgresAccess(self.state).engine())

    def source(self, stream: Stream) -> PlanningSource:
        return DatabaseSource(DatabaseAccess(PostgresAccess(self.conninfo).engine), stream)

    types = replace(
        PostgresSystem.types,
        exact=[each for each in PostgresSystem.types.exact if each[0] not in ("jsonb", "interval", "bit(12)")],
    )


@dataclass(frozen=True, slots=True)
class MariaDbSystem:
    """:param state: the conninfo of the state's database, where rows are loaded into this one"""

    database: MariaDb
    state: str = ""

    def destination(self, table: str) -> Destination:
        return DatabaseDestination(self.database.access, TableName(table), PostgresAccess(self.state).engine())

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.database.execute(f"SELECT * FROM `{table}` ORDER BY 1")

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[None]:
        with self.database.connect() as connection, connection.cursor() as cursor:
            connection.begin()
            for statement in statements:
                cursor.execute(statement)
            yield
            connection.commit()

    def execute(self, *statements: str) -> Any:
        return self.database.execute("SET SESSION sql_mode = ''", *statements)

    def source(self, stream: Stream) -> PlanningSource:
        return DatabaseSource(self.database.access, stream)

    types = Types(
        moment="timestamp(6) NULL",
        now="now(6)",
        exact=(
            ("decimal(30,10)", "12345678901234567890.0123456789", "12345678901234567890.0123456789"),
            ("decimal(65,30) unsigned", f"{'9' * 35}.{'9' * 30}", f"{'9' * 35}.{'9' * 30}"),
            ("datetime(6)", "'2026-01-02 03:04:05.123456'", "2026-01-02 03:04:05.123456"),
            ("datetime", "'9999-12-31 23:59:59'", "9999-12-31 23:59:59"),
            ("timestamp(6) NULL", "'2026-01-02 03:04:05.123456'", "2026-01-02 03:04:05.123456+00"),
            ("date", "'1000-01-01'", "1000-01-01"),
            ("time(6)", "'838:59:58.999999'", "838:59:58.999999"),
            ("time", "'-25:30:00'", "-25:30:00"),
            ("time", "'08:30:00'", "08:30:00"),
            ("year", "2026", "2026"),
            ("tinyint", "-128", "-128"),
            ("tinyint(1)", "2", "2"),
            ("smallint unsigned", "65535", "65535"),
            ("mediumint unsigned", "16777215", "16777215"),
            ("int unsigned", "4294967295", "4294967295"),
            ("bigint", "-9223372036854775808", "-9223372036854775808"),
            ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
            ("float", "16777217.1", "1.6777218e+07"),
            ("double", "0.1e0 + 0.2e0", "0.30000000000000004"),
            ("bit(12)", "b'101010101010'", "101010101010"),
            ("bit(1)", "b'1'", "1"),
            ("json", '\'{"b": 1.10, "a": [null]}\'', '{"b": 1.10, "a": [null]}'),
            ("blob", "x'00ff27'", "\\x00ff27"),
            ("binary(4)", "'ab'", "\\x61620000"),
            ("varchar(20)", "'höl 😀 '", "höl 😀 "),
            ("varchar(20) CHARACTER SET latin1", "'é'", "é"),
            ("char(5)", "'ab'", "ab"),
            ("longtext", "repeat('ß😀', 100000)", "ß😀" * 100_000),
            ("enum('x', 'ü', 'y')", "'ü'", "ü"),
            ("set('a', 'b')", "'a,b'", "a,b"),
            ("uuid", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("inet6", "'::1'", "::1"),
        ),
    )


@dataclass(frozen=True, slots=True)
class SqliteSystem:
    """:param state: the conninfo of the state's database, where rows are loaded into this one"""

    path: Path
    state: str = ""

    def destination(self, table: str) -> Destination:
        return DatabaseDestination(sqlite_writer(self.path), TableName(table), PostgresAccess(self.state).engine())

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall()

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in ("BEGIN", *statements):
                connection.execute(statement)
            yield
            connection.execute("COMMIT")

    def execute(self, *statements: str) -> Any:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def source(self, stream: Stream) -> PlanningSource:
        return DatabaseSource(sqlite_access(self.path), stream)

    types = Types(
        moment="datetime",
        now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
        exact=(
            ("numeric", "0.1", "0.1"),
            ("decimal(10,2)", "12.345", "12.345"),
            ("datetime", "'2026-01-02 03:04:05.123456'", "2026-01-02 03:04:05.123456"),
            ("timestamp", "'2026-01-02T03:04'", "2026-01-02 03:04:00"),
            ("date", "'1000-01-01'", "1000-01-01"),
            ("integer", "-9223372036854775808", "-9223372036854775808"),
            ("real", "0.1 + 0.2", "0.30000000000000004"),
            ("boolean", "1", "true"),
            ("json", "'{\"b\": 1.10}'", '{"b": 1.10}'),
            ("blob", "x'00ff27'", "\\x00ff27"),
            ("text", "'höl 😀 '", "höl 😀 "),
            ("varchar(3)", "'longer'", "longer"),
        ),
    )


@dataclass(frozen=True, slots=True)
class HttpSystem(SqliteSystem):
    """An API that gives the rows of tables of SQLite, each as JSON of the type that its column is declared with."""

    api: Api = field(kw_only=True)

    def source(self, stream: Stream) -> PlanningSource:
        """The stream's table as an endpoint, whose columns' types the author has given."""
        name = stream.table.name if stream.table else ""
        types = {column: _JSON[type_][0] for column, type_ in self._columns(name) if type_ in _JSON}
        chosen = (*stream.columns, stream.cursor_field, *stream.primary_key) if stream.columns else tuple(types)
        endpoint = {
            "path": f"/{quote(name)}", "records": "data", "pages": {"type": "offset", "limit": 4},
            "start_param": "since", "params": {"by": stream.cursor_field},
            "column_types": {column: type_ for column, type_ in types.items() if column in chosen},
        }  # fmt: skip
        key = stream.primary_key or (("id",) if any(self._keys(name)) or not types else ())
        return HttpSource(
            self.api.access(), replace(stream, table=None, endpoint=Endpoint.parse(endpoint), primary_key=key)
        )

    def respond(self, asked: Asked) -> Reply:
        name, by = unquote(asked.path).removeprefix("/"), asked.query.get("by", "id")
        columns = self._columns(name)
        if not columns:
            return Reply({"error": "not found"}, 404)
        if by not in dict(columns):
            by = "id"
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY "{by}" IS NOT NULL, "{by}"').fetchall()
        place = [column for column, _ in columns].index(by)
        rows = [row for row in rows if "since" not in asked.query or _is_from(row[place], asked.query["since"])]
        start, size = int(asked.query.get("offset", 0)), int(asked.query["limit"])
        records = [_json_of(columns, row) for row in rows[start : start + size]]
        return Reply(f'{{"data": [{", ".join(records)}]}}'.encode())

    def _columns(self, table: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT name, lower(type) FROM pragma_table_info(?)", (table,)).fetchall()

    def _keys(self, table: str) -> list[bool]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [bool(row[0]) for row in connection.execute("SELECT pk FROM pragma_table_info(?)", (table,))]

    types = Types(
        moment="text_moment",
        now="strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        exact=(
            ("text_numeric", "'12345678901234567890.0123456789'", "12345678901234567890.0123456789"),
            ("text_moment", "'2026-01-02T03:04:05.123456+02:00'", "2026-01-02 01:04:05.123456+00"),
            ("bigint", "-9223372036854775808", "-9223372036854775808"),
            ("text_json", '\'{"b": [1.10, "ö"]}\'', '{"b": [1.10, "ö"]}'),
            ("boolean", "1", "true"),
            ("date", "'1000-01-01'", "1000-01-01"),
            ("text", "'höl 😀 '", "höl 😀 "),
        ),
    )


_JSON: dict[str, tuple[str, Callable[[Any], str]]] = {
    "integer": ("bigint", str),
    "bigint": ("bigint", str),
    "text_numeric": ("numeric", str),
    "text_json": ("jsonb", str),
    "boolean": ("boolean", lambda value: "true" if value else "false"),
    **dict.fromkeys(("text", "varchar(10)", "varchar(20)"), ("text", json.dumps)),
    "date": ("date", json.dumps),
    "text_moment": (
        "timestamptz",
        lambda value: json.dumps(value.replace(" ", "T") + "Z" * (value[-6] != "+" and "Z" not in value)),
    ),
}
"""By declared type the column's type, and how a value is written as JSON."""


def _json_of(columns: Sequence[tuple[str, str]], row: Sequence[Any]) -> str:
    values = [
        "null" if value is None else _JSON[type_][1](value) for (_, type_), value in zip(columns, row, strict=True)
    ]
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {value}" for (name, _), value in zip(columns, values, strict=True)) + "}"
    )


def _is_from(value: Any, since: str) -> bool:
    """As an API that leaves out the bound itself, and what has no value."""
    if value is None:
        return False
    return str(value).replace(" ", "T") > since if "T" in since else value > int(since)


@dataclass(frozen=True, slots=True)
class DeltaSystem:
    """A lake on this machine.

    :param state: the conninfo of the state's database
    """

    root: Path
    state: str

    def destination(self, table: str) -> Destination:
        state = PostgresAccess(self.state).engine()
        return DeltaDestination(DeltaAccess(str(self.root)), TableName(table), state)

    def execute(self, *statements: str) -> Any:
        raise NotImplementedError

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        found = DeltaTable(self.root / table).to_pyarrow_table()
        return sorted(tuple(row.values()) for row in found.to_pylist())


@dataclass(frozen=True, slots=True)
class DuckDbSystem:
    """:param state: the conninfo of the state's database"""

    path: Path
    state: str

    def destination(self, table: str) -> Destination:
        return DuckDbDestination(self.path, TableName(table), PostgresAccess(self.state).engine())

    def execute(self, *statements: str) -> Any:
        with duckdb.connect(str(self.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall()


@dataclass(frozen=True, slots=True)
class SnowflakeSystem:
    """:param state: the conninfo of the state's database"""

    database: Snowflake
    state: str

    def destination(self, table: str) -> Destination:
        return SnowflakeDestination(self.database.access, TableName(table), PostgresAccess(self.state).engine())

    def execute(self, *statements: str) -> Any:
        return self.database.execute(*statements)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.database.execute(f"SELECT * FROM {table} ORDER BY 1")


@dataclass(frozen=True, slots=True)
class BigQuerySystem:
    """:param state: the conninfo of the state's database"""

    dataset: BigQuery
    state: str

    def destination(self, table: str) -> Destination:
        return BigQueryDestination(self.dataset.access, TableName(table), PostgresAccess(self.state).engine())

    def execute(self, *statements: str) -> Any:
        return self.dataset.execute(*statements)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.dataset.execute(f"SELECT * FROM `{{}}.{table}` ORDER BY 1")
