"""``etl-sync failed replay`` for tables away from the state: by the connection that the sync's runs have noted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.dags.conftest import Airflow
from tests.marts import MARTS, PRICES, REFUSED, SOURCE, Mart, new_mart

Command = Callable[..., "subprocess.CompletedProcess[str]"]
NOTED = "SELECT sync_key, conn_id, dag_id FROM etl_sync.loaded_place"
FAILED = "SELECT failures, closed_by FROM etl_sync.failed_record ORDER BY id"
REPLAYS = "SELECT count(*) FROM etl_sync.sync_run WHERE kind = 'replay'"


@pytest.fixture
def mart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mart]:
    with new_mart(getattr(request, "param", "sqlite"), tmp_path) as made:
        yield made


@pytest.fixture(params=["prices_chain", "prices_one_task"])
def failing(request: pytest.FixtureRequest, airflow: Airflow, source: psycopg.Connection, mart: Mart) -> str:
    """The DAG whose run has left two failed records."""
    for statement in SOURCE:
        source.execute(statement)
    airflow.connect("mart", "", **mart.connection)
    run = airflow.run(request.param)
    assert run.state == "success", run.errors
    task = "prices.load" if request.param == "prices_chain" else "sync"
    assert run.counts(task) == {"inserted": PRICES - REFUSED, "updated": 0, "skipped": 0, "errors": REFUSED}
    return str(request.param)


@pytest.fixture
def replay(airflow: Airflow, airflow_environment: dict[str, str]) -> Command:
    def run(without: str = "") -> subprocess.CompletedProcess[str]:
        connections = {name: value for name, value in airflow.connections.items() if name != without}
        command = ["failed", "replay", "prices", "--conn-id", "warehouse", "--json"]
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", *command], env=airflow_environment | connections,
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def counts(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return {name: count for name, count in json.loads(done.stdout).items() if count and name != "processed"}


@pytest.mark.parametrize("mart", MARTS, indirect=True)
def test_the_command_replays_by_the_connection_that_the_run_noted(
    failing: str, mart: Mart, replay: Command, warehouse: psycopg.Connection
) -> None:
    assert warehouse.execute(NOTED).fetchall() == [("prices", "mart", failing)]
    assert counts(replay()) == {"errors": REFUSED}
    mart.mend()
    done = replay()
    assert counts(done) == {"inserted": REFUSED}
    assert "bad" not in done.stdout + done.stderr
    assert mart.words() == [(1,), (2,)]
    assert warehouse.execute(FAILED).fetchall() == [(2, "replay")] * REFUSED
    assert counts(replay()) == {}
    assert mart.execute("SELECT count(*) FROM prices") == [(PRICES,)]


@pytest.mark.parametrize("failing", ["prices_one_task"], indirect=True)
class TestRefused:
    """In one sentence, and nothing is changed."""

    @pytest.fixture(autouse=True)
    def unchanged(self, failing: str, mart: Mart, warehouse: psycopg.Connection) -> Iterator[None]:
        mart.mend()
        yield
        assert warehouse.execute(FAILED).fetchall() == [(1, None)] * REFUSED
        assert warehouse.execute(REPLAYS).fetchone() == (0,)
        assert mart.words() == []

    def test_a_connection_that_has_gone(self, replay: Command) -> None:
        done = replay(without="AIRFLOW_CONN_MART")
        assert done.returncode and "The connection 'mart' does not exist: add it in Airflow" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("system", ["sqlite", "mysql", "postgres"])
    def test_a_connection_that_leads_to_another_place(
        self, system: str, airflow: Airflow, replay: Command, tmp_path: Path, source_db: str
    ) -> None:
        (tmp_path / "other").mkdir()
        if system == "postgres":
            airflow.connect("mart", source_db)
            assert "leads to another place now, so nothing is replayed" in self._told(replay())
            return
        with new_mart(system, tmp_path / "other") as other:
            airflow.connect("mart", "", **other.connection)
            assert "leads to another place now, so nothing is replayed" in self._told(replay())
            assert other.execute("SELECT count(*) FROM prices") == [(0,)]

    def test_a_file_that_is_not_on_this_machine(self, mart: Mart, replay: Command) -> None:
        assert isinstance(mart.place, Path)
        away = mart.place.rename(mart.place.with_suffix(".away"))
        assert "There is no table 'prices in place sqlite:" in self._told(replay())
        mart.place.unlink(missing_ok=True)
        away.rename(mart.place)

    def test_no_run_has_noted_a_connection(self, replay: Command, warehouse: psycopg.Connection) -> None:
        warehouse.execute("DELETE FROM etl_sync.loaded_place")
        assert "no run has noted yet, so nothing is replayed: let the sync run once" in self._told(replay())

    def _told(self, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode and "Traceback" not in done.stderr, done.stderr
        return done.stderr.removeprefix("etl-sync: ")


@pytest.mark.parametrize("failing", ["prices_one_task"], indirect=True)
def test_each_run_notes_its_connection(
    failing: str, airflow: Airflow, mart: Mart, replay: Command, warehouse: psycopg.Connection
) -> None:
    airflow.connect("renamed", "", **mart.connection)
    assert airflow.run(failing, mart="renamed").state == "success"
    assert warehouse.execute(NOTED).fetchall() == [("prices", "renamed", failing)]
    mart.mend()
    assert counts(replay(without="AIRFLOW_CONN_MART")) == {"inserted": REFUSED}
