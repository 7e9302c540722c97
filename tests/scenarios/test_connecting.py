"""S24: a server that is not ready is waited for, a login that it refuses is not tried again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi  # noqa: F401 - or a server would be back before the driver is imported
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from airflow_etl_sync.errors import ConfigurationError, EtlSyncError
from airflow_etl_sync.state.turnstile import wait_for
from airflow_etl_sync.systems.postgres import access
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.world import FORMS, Form, World

pytestmark = pytest.mark.scenario("S24")

# -- somebody waits at a screen --------------------------------------------------------------------------


@pytest.mark.parametrize("waited_for", ["rows", "a place among merges"])
def test_who_is_in_a_hurry_does_not_wait_for_a_lock(
    waited_for: str, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    warehouse.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    given = PostgresAccess(warehouse_db)
    with given.engine().begin() as holding, given.hasty(lock_seconds=0.2).engine().begin() as hasty:
        for connection, outcome in (
            (holding, nullcontext()),
            (hasty, pytest.raises(OperationalError, match="timeout")),
        ):
            with outcome:
                if waited_for == "rows":
                    connection.execute(text("LOCK TABLE t"))
                else:
                    wait_for(connection, "elsewhere")


# -- the server is not ready ------------------------------------------------------------------------------

WAYS_IN: dict[str, Callable[[PostgresAccess], Any]] = {
    "psycopg": lambda given: given.connect(),
    "adbc": lambda given: given.adbc(),
    "sqlalchemy": lambda given: given.engine().connect(),
}


@pytest.mark.parametrize("way_in", WAYS_IN.values(), ids=WAYS_IN)
def test_a_server_that_restarts_is_waited_for(
    way_in: Callable[[PostgresAccess], Any],
    mortal: MortalPostgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 30.0)
    mortal.crash()
    restart = threading.Timer(0.3, mortal.restart)
    restart.start()
    with caplog.at_level(logging.INFO), closing(way_in(PostgresAccess(mortal.databases.admin))):
        pass
    restart.join()
    lines = [record.getMessage() for record in caplog.records if "not ready" in record.getMessage()]
    assert lines and "attempt 1: trying again in 0." in lines[0]
    assert not any("127.0.0.1" in line or "postgres" in line for line in lines)


@pytest.mark.parametrize("way_in", WAYS_IN.values(), ids=WAYS_IN)
def test_waiting_has_an_end(
    way_in: Callable[[PostgresAccess], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 1.0)
    began = time.monotonic()
    with caplog.at_level(logging.INFO), pytest.raises(Exception, match="refused"):
        way_in(PostgresAccess("postgresql://somebody:secret@127.0.0.1:1/shop"))
    assert time.monotonic() - began < 5
    assert "attempt 2" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize("way_in", ["psycopg", "adbc"])
def test_a_free_connection_is_waited_for(
    way_in: str, mortal: MortalPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 30.0)
    admin = mortal.databases.admin
    conninfo = make_conninfo(admin, user="crowded", password="crowded")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE ROLE crowded LOGIN PASSWORD 'crowded' CONNECTION LIMIT 1")
        other = psycopg.connect(conninfo)
        free = threading.Timer(0.3, other.close)
        free.start()
        with caplog.at_level(logging.INFO), closing(WAYS_IN[way_in](PostgresAccess(conninfo))):
            pass
        free.join()
        connection.execute("DROP ROLE crowded")
    assert "not ready (too many connections)" in caplog.text


# -- what does not pass with time -------------------------------------------------------------------------

STRANGER = """
DO $$ BEGIN CREATE ROLE stranger LOGIN PASSWORD 'stranger'; EXCEPTION WHEN duplicate_object THEN END $$
"""
LOGINS = {
    "wrong password": {"password": "wrong"},
    "unknown role": {"user": "nobody_here"},
    "unknown database": {"dbname": "nothing_here"},
    "no privilege": {"user": "stranger", "password": "stranger"},
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
@pytest.mark.parametrize("side", ["source_db", "warehouse_db"])
@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_login_is_not_tried_again(
    form: Form,
    side: str,
    login: dict[str, str],
    doomed_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 30.0)
    with psycopg.connect(doomed_db, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL)")
        connection.execute(STRANGER)
    world = World(doomed_db, doomed_db, tmp_path / "staging").but(**{side: make_conninfo(doomed_db, **login)})
    with caplog.at_level(logging.INFO), pytest.raises(EtlSyncError) as caught:
        world.run(form)
    assert type(caught.value) is ConfigurationError
    assert not caught.value.is_retryable
    assert "trying again" not in caplog.text
    assert "password=" not in str(caught.value) and "wrong" not in str(caught.value)


@pytest.mark.parametrize("way_in", ["psycopg", "adbc"])
def test_a_wrong_password_is_refused_at_once_by_either_driver(
    way_in: str, mortal: MortalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CONNECT_SECONDS", 30.0)
    began = time.monotonic()
    with pytest.raises(Exception, match="password authentication failed"):
        WAYS_IN[way_in](PostgresAccess(make_conninfo(mortal.databases.admin, password="wrong")))
    assert time.monotonic() - began < 5
