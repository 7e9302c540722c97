"""The systems that are held to the contract, each as a test can fill and change it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.sql import SQL, Identifier

from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.systems.base import Destination, PlanningSource
from airflow_etl_sync.systems.database.access import DatabaseAccess, sqlite_access, sqlite_writer
from airflow_etl_sync.systems.database.destination import DatabaseDestination
from airflow_etl_sync.systems.database.source import DatabaseSource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.mariadb import MariaDb

DATABASES = ("postgres", "mariadb", "sqlite", "sqlalchemy")
SOURCES = (*DATABASES, "files")
DESTINATIONS = DATABASES


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
