"""``etl-sync preflight`` on real databases: what it finds amiss, and that a sync it calls ready runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airflow_etl_sync.demo.postgres import free_port
from tests.dags.conftest import as_connection

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SECRET = "secret-of-nobody"
GOOD = """
CREATE TABLE public.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON public.orders (updated_at);
INSERT INTO public.orders (note) SELECT 'x' FROM generate_series(1, 10);
"""
SYNC = ("--source-conn-id", "source", "--destination-conn-id", "warehouse", "--table", "public.orders")
BY_TIME = (*SYNC, "--cursor-field", "updated_at")


@pytest.fixture
def connections(source_db: str, warehouse_db: str) -> dict[str, str]:
    """The two databases as Airflow's variables name them."""
    return {"AIRFLOW_CONN_SOURCE": as_connection(source_db), "AIRFLOW_CONN_WAREHOUSE": as_connection(warehouse_db)}


@pytest.fixture
def preflight(airflow_environment: dict[str, str], connections: dict[str, str]) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", "preflight", *arguments],
            env=airflow_environment | connections, check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def found(preflight: Command) -> Callable[..., dict[str, bool]]:
    """The codes that are found, and whether each stands in the way."""

    def run(*arguments: str) -> dict[str, bool]:
        done = preflight(*arguments, "--json")
        answer: dict[str, Any] = json.loads(done.stdout)
        findings = {each["code"]: each["is_error"] for each in answer["findings"]}
        assert done.returncode == (1 if any(findings.values()) else 0), done.stderr
        assert answer["is_ready"] is not any(findings.values())
        return findings

    return run


def test_a_good_sync_is_ready_and_nothing_is_made(
    preflight: Command, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(GOOD)
    done = preflight(*BY_TIME)
    assert done.returncode == 0, done.stderr
    assert "Ready." in done.stdout and "the first run creates it" in done.stdout
    made = "SELECT to_regclass('public.orders'), to_regnamespace('etl_sync')"
    assert warehouse.execute(made).fetchone() == (None, None)


def test_a_database_that_does_not_answer_is_told_beside_the_other_side(
    preflight: Command, connections: dict[str, str], source_db: str
) -> None:
    silent = make_conninfo(source_db, port=str(free_port()), password=SECRET)
    connections["AIRFLOW_CONN_WAREHOUSE"] = as_connection(silent)
    done = preflight(*BY_TIME)
    assert done.returncode == 1
    assert "Not ready." in done.stdout and "has no table 'public.orders'" in done.stdout
    assert "mend the connection 'warehouse'" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_what_is_said_of_key_lag_and_destination_is_looked_at(
    preflight: Command, found: Callable[..., dict[str, bool]], source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(GOOD)
    warehouse.execute("CREATE TABLE public.orders (id bigint)")
    assert found(*BY_TIME, "--primary-key", "no_such")["column_missing"] is True
    assert found(*SYNC, "--cursor-field", "xmin", "--lag", "PT5M")["lag"] is True
    elsewhere = preflight(*BY_TIME, "--destination-table", "public.elsewhere")
    assert "'public.elsewhere'" in elsewhere.stdout and "the first run creates it" in elsewhere.stdout


def test_a_capture(
    preflight: Command, found: Callable[..., dict[str, bool]], connections: dict[str, str], source_db: str,
    source: psycopg.Connection, slots: Callable[[str], str],
) -> None:  # fmt: skip
    source.execute(GOOD)
    connections["AIRFLOW_CONN_CDC"] = as_connection(source_db, conn_type="postgres_cdc")
    slot = ("--cdc-conn-id", "cdc", "--slot", slots(source_db))
    findings = found(*slot, "--tables", "public.orders")
    assert findings["slot_missing"] is False, "the first set-up makes it"
    assert found(*slot, "--tables", "public.nothing")["table_missing"] is True
    nameless = preflight("--cdc-conn-id", "cdc")
    assert nameless.returncode == 1 and "names no replication slot" in nameless.stderr


def test_wrong_usage(preflight: Command) -> None:
    for arguments in ((), SYNC, (*BY_TIME, "--slot", "s"), ("--cdc-conn-id", "cdc", "--table", "orders")):
        done = preflight(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
    assert preflight(*BY_TIME[:-1], "").returncode == 1
