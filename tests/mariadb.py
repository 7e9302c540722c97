"""The MariaDB that runs on this machine, in which each test has a database of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from airflow_etl_sync.systems.database.access import DatabaseAccess, mysql_access

REQUIRED = "ETL_SYNC_REQUIRE_MARIADB"


@dataclass(frozen=True, slots=True)
class MariaDb:
    """A database of a test's own, and the login to its server."""

    host: str
    port: int
    login: str
    password: str
    database: str

    @property
    def access(self) -> DatabaseAccess:
        return mysql_access(
            host=self.host, port=self.port, login=self.login, password=self.password, database=self.database
        )

    def connect(self) -> pymysql.Connection[Any]:
        """A connection in autocommit mode."""
        return pymysql.connect(
            host=self.host, port=self.port, user=self.login, password=self.password, charset="utf8mb4",
            database=self.database, autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one after another; the rows of the last."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@contextmanager
def new_mariadb() -> Iterator[MariaDb]:
    """A database with a random name, dropped in the end; skips, or fails where it must be there, without a server."""
    name = f"etl_sync_{secrets.token_hex(6)}"
    server = MariaDb("127.0.0.1", int(os.environ.get("ETL_SYNC_TEST_MARIADB_PORT", "3306")), "root", "", "mysql")
    try:
        server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    except pymysql.err.OperationalError as error:
        reason = f"no MariaDB at {server.host}:{server.port} that lets root in ({error.args[0]})"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason}, and {REQUIRED} is set", pytrace=False)
        pytest.skip(reason)
    try:
        yield MariaDb(server.host, server.port, server.login, server.password, name)
    finally:
        server.execute(f"DROP DATABASE {name}")
