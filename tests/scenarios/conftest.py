"""What the scenarios stand on: a world of two databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.systems.postgres import windows
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.binlog import logging_mariadb
from tests.binlog import new_database as new_logged_database
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture
from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.world import World


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path) -> World:
    """Table ``t`` of the source, with cursor ``c``, is to be kept in step in table ``t`` of the warehouse."""
    return World(source_db, warehouse_db, tmp_path / "staging")


@pytest.fixture
def t(source: psycopg.Connection) -> psycopg.Connection:
    """An autocommitting connection to the source with a table ``t``."""
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    return source


@pytest.fixture
def slot(t: psycopg.Connection, source_db: str, slots: Callable[[str], str]) -> ReplicationSlot:
    """A slot that is not there yet."""
    name = slots(source_db)
    return ReplicationSlot(PostgresAccess(source_db), name, f"of {name}")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so that nobody waits for seconds: what the scenarios show does not depend on their number."""
    monkeypatch.setattr(windows, "MARGIN", timedelta(milliseconds=50))
    monkeypatch.setattr(windows, "_FENCE_WAIT_SECONDS", 0.1)


@pytest.fixture(scope="session")
def mortal() -> Iterator[MortalPostgres]:
    """A server that tests may crash and start again; it asks for passwords."""
    with MortalPostgres() as server:
        yield server


@pytest.fixture
def doomed_db(mortal: MortalPostgres) -> Iterator[str]:
    """The conninfo of a fresh, empty database on that server."""
    yield mortal.databases.create_database("doomed")
    mortal.databases.drop_database("doomed")


@pytest.fixture(scope="session")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A MariaDB that writes a binary log."""
    with logging_mariadb(tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield mariadb


@pytest.fixture
def shop(logging_server: MariaDb) -> Iterator[MariaDb]:
    """A fresh, empty database of it."""
    with new_logged_database(logging_server) as database:
        yield database


@pytest.fixture
def logged(shop: MariaDb, warehouse_db: str, tmp_path: Path) -> BinlogCapture:
    """The table ``t`` of it is to be captured; a test makes it."""
    return BinlogCapture(shop, warehouse_db, tmp_path)
