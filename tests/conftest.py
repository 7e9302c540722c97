"""A real PostgreSQL for the tests: embedded, or the one that ``ETL_SYNC_TEST_DSN`` names."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from airflow_etl_sync.demo.postgres import Databases, EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 1024**3


def quickest_place() -> Path | None:
    """A file system in memory, where there is a roomy one that programs may be run from; else the usual place.

    Every test has databases of its own, of 300 files each. Some file systems are slow to make files where
    others have just been removed: ext4 without a journal takes ten times as long.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None


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
