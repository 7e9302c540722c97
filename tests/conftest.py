"""A real PostgreSQL for the tests: embedded, or the one that ``ETL_SYNC_TEST_DSN`` names."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import settings

from airflow_etl_sync.demo.postgres import Databases, EmbeddedPostgres
from airflow_etl_sync.systems.database import access as database_access
from airflow_etl_sync.systems.postgres import access
from tests.object_storage import Bucket, ObjectStorage
from tests.placing import quickest_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.contract.matrix import Matrix

settings.register_profile("busy", deadline=None)  # how long an example takes is up to who else is at work
settings.load_profile("busy")

CONTRACT = "contract"
"""Under this name a test's report says by which fixture which promise of which system it tried."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a test that holds a system to a promise, in whichever process it ran."""
    for name, value in report.user_properties:
        if name == CONTRACT and isinstance(value, (list, tuple)) and (report.when == "call" or not report.passed):
            fixture, promise, system = value
            _matrix().note(fixture, promise, system, report.outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show at the end which system keeps which promise."""
    if _matrix.cache_info().currsize:
        terminalreporter.section("which system keeps which promise")
        for line in _matrix().lines():
            terminalreporter.write_line(line)


@cache
def _matrix() -> Matrix:
    """Made when it is needed: it knows systems for which not every environment has the libraries."""
    from tests.contract.matrix import Matrix

    return Matrix()


@pytest.fixture(scope="session")
def server() -> Iterator[Databases]:
    """A server in which databases can be made and dropped."""
    dsn = os.environ.get("ETL_SYNC_TEST_DSN")
    if dsn:
        yield Databases(dsn)
        return
    with EmbeddedPostgres(parent=quickest_place()) as postgres:
        yield postgres.databases


@pytest.fixture
def new_database(server: Databases) -> Iterator[Callable[[str], str]]:
    """A maker of databases: takes a word for the name, gives a conninfo; all are dropped afterwards."""
    with ExitStack() as drops:

        def create(label: str) -> str:
            name = f"{label}_{secrets.token_hex(6)}"
            drops.callback(server.drop_database, name)
            return server.create_database(name)

        yield create


@pytest.fixture
def source_db(new_database: Callable[[str], str]) -> str:
    """The conninfo of a fresh, empty source database."""
    return new_database("source")


@pytest.fixture
def warehouse_db(new_database: Callable[[str], str]) -> str:
    """The conninfo of a fresh, empty destination database."""
    return new_database("warehouse")


@pytest.fixture
def source(source_db: str) -> Iterator[psycopg.Connection]:
    """An autocommitting psycopg connection to the source database."""
    with psycopg.connect(source_db, autocommit=True) as connection:
        yield connection


@pytest.fixture
def warehouse(warehouse_db: str) -> Iterator[psycopg.Connection]:
    """An autocommitting psycopg connection to the destination database."""
    with psycopg.connect(warehouse_db, autocommit=True) as connection:
        yield connection


@pytest.fixture
def slots(new_database: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
    """A maker of names for replication slots: takes a database's conninfo, gives a name that is free on the server.

    What has that name afterwards is dropped, whoever made it: before the databases are, which a slot would keep alive.
    """
    with ExitStack() as drops:

        def name(conninfo: str) -> str:
            slot = f"test_{secrets.token_hex(6)}"
            drops.callback(drop_slot, conninfo, slot)
            return slot

        yield name


def drop_slot(conninfo: str, slot: str, seconds: float = 10.0) -> None:
    """Drop a slot that may be there, ending its reader's session."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while connection.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [slot]).rowcount:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [slot]
            )
            try:
                connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            except psycopg.errors.ObjectInUse:
                assert time.monotonic() < deadline, f"the slot {slot} is in use"
                time.sleep(0.05)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a server that never comes; tests of one that comes ask for more patience."""
    for system in (access, database_access):
        monkeypatch.setattr(system, "CONNECT_SECONDS", 0.2)
        monkeypatch.setattr(system, "FIRST_WAIT_SECONDS", 0.05)


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """S3 on loopback."""
    with ObjectStorage() as storage:
        yield storage


@pytest.fixture
def bucket(object_storage: ObjectStorage) -> Bucket:
    """A bucket of the test's own."""
    return object_storage.new_bucket()
