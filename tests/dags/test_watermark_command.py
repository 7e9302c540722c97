"""``etl-sync watermark``, as a process of its own with Airflow's connections, on a real database."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.dags.conftest import as_connection

Command = Callable[..., "subprocess.CompletedProcess[str]"]
WHY = ("--reason", "the import of May was wrong")


@pytest.fixture
def etl_sync(airflow_environment: dict[str, str], warehouse_db: str) -> Command:
    """Runs ``etl-sync`` with the connection ``warehouse``."""

    def run(*arguments: str, conn_id: str = "warehouse") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", "watermark", *arguments, "--conn-id", conn_id],
            env=airflow_environment | {"AIRFLOW_CONN_WAREHOUSE": as_connection(warehouse_db)},
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def watermark(warehouse_db: str, warehouse: psycopg.Connection) -> psycopg.Connection:
    """A warehouse in which the sync ``orders`` stands at 2024-05-10."""
    tables.ensure(PostgresAccess(warehouse_db).engine())
    warehouse.execute(
        "INSERT INTO etl_sync.watermark VALUES"
        " ('orders', '2024-05-10 00:00:00+00', 'timestamptz', '2024-05-11 03:00+00', 7, '{}'),"
        " ('[red]items', '42', 'integer', '2024-05-11 04:00+00', 1, '{}')"
    )
    return warehouse


def stored(warehouse: psycopg.Connection) -> Any:
    return warehouse.execute("SELECT cursor_value, version FROM etl_sync.watermark ORDER BY 2 DESC").fetchone()


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_watermark_s_story(etl_sync: Command, watermark: psycopg.Connection) -> None:
    listed = answer(etl_sync("list", "--json"))
    assert [(each["sync_key"], each["value"]) for each in listed] == [
        ("[red]items", "42"),
        ("orders", "2024-05-10 00:00:00+00"),
    ]
    assert listed[1]["last_sync"] == "2024-05-11T03:00:00+00:00"

    rewound = answer(etl_sync("rewind", "orders", "--back", "P3DT12H", *WHY, "--json"))
    assert (rewound["old_value"], rewound["new_value"]) == ("2024-05-10 00:00:00+00", "2024-05-06 12:00:00+00")
    assert (rewound["changed_by"], rewound["reason"]) == (getpass.getuser(), WHY[1])
    assert stored(watermark) == ("2024-05-06 12:00:00+00", 8)

    assert (
        answer(etl_sync("set", "orders", "--value", "2024-05-01", *WHY, "--by", "Ada", "--json"))["changed_by"] == "Ada"
    )
    assert answer(etl_sync("reset", "orders", *WHY, "--json"))["new_value"] is None
    shown = answer(etl_sync("show", "orders", "--json"))
    assert (shown["value"], shown["version"]) == (None, 10)
    assert [each["action"] for each in shown["changes"]] == ["reset", "set", "rewind"]


def test_people_read_tables(etl_sync: Command, watermark: psycopg.Connection) -> None:
    listed = etl_sync("list").stdout
    assert "orders" in listed and "[red]items" in listed and "2024-05-10 00:00:00+00" in listed
    changed = etl_sync("rewind", "[red]items", "--value", "-5", *WHY)
    assert changed.returncode == 0, changed.stderr
    assert "-5" in changed.stdout
    shown = etl_sync("show", "[red]items").stdout
    assert getpass.getuser() in shown and "rewind" in shown


@pytest.mark.parametrize(
    ("arguments", "conn_id", "said"),
    [
        (("rewind", "orders", "--value", "2025-01-01", *WHY), "warehouse", "is not below the watermark of 'orders'"),
        (("set", "orders", "--value", "2025-01-01", *WHY), "warehouse", "--skip"),
        (("rewind", "orders", "--back", "yesterday", *WHY), "warehouse", "back must be a duration such as PT5M"),
        (("reset", "orders", "--reason", " "), "warehouse", "reason is empty"),
        (("reset", "nobody", *WHY), "warehouse", "'nobody' has no watermark in this database"),
        (("show", "nobody"), "warehouse", "'nobody' has no watermark in this database"),
        (("list",), "nowhere", "The connection 'nowhere' does not exist"),
    ],
)
def test_a_refusal_is_one_sentence_and_changes_nothing(
    arguments: tuple[str, ...], conn_id: str, said: str, etl_sync: Command, watermark: psycopg.Connection
) -> None:
    refused(etl_sync(*arguments, conn_id=conn_id), said)
    assert stored(watermark) == ("2024-05-10 00:00:00+00", 7)
    assert watermark.execute("SELECT count(*) FROM etl_sync.watermark_change").fetchone() == (0,)


def test_a_connection_of_airflow_s_own_database_is_found(
    etl_sync: Command, watermark: psycopg.Connection, airflow_environment: dict[str, str], warehouse_db: str
) -> None:
    add = [sys.executable, "-m", "airflow", "connections", "add", "in_the_ui", "--conn-json"]
    command = [*add, as_connection(warehouse_db)]
    subprocess.run(command, env=airflow_environment, check=True, capture_output=True, timeout=120)
    assert len(answer(etl_sync("list", "--json", conn_id="in_the_ui"))) == 2


def test_wrong_usage_is_told_at_once(etl_sync: Command) -> None:
    began = time.monotonic()
    assert etl_sync("reset", "orders").returncode == 2
    assert etl_sync("rewind", "orders", "--back", "1", "--value", "1", *WHY).returncode == 2
    helped = etl_sync("--help")
    assert helped.returncode == 0 and "rewind" in helped.stdout
    assert time.monotonic() - began < 3 * 2
