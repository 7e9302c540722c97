"""The embedded PostgreSQL starts, serves, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.demo.postgres import EmbeddedPostgres, PostgresStartError


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_serves_logical_decoding() -> None:
    with EmbeddedPostgres() as postgres, psycopg.connect(postgres.create_database("Shop & co")) as connection:
        row = connection.execute("SELECT current_database(), current_setting('wal_level')").fetchone()
    assert row == ("Shop & co", "logical")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the server's user can reach when the tests run as root; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix="etl-sync-test-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


def test_leaves_nothing_behind_after_an_error(directory: Path) -> None:
    postgres = EmbeddedPostgres(parent=directory)

    def fail() -> None:
        with postgres:
            pids.append(postgres.pid or 0)
            raise ZeroDivisionError

    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not is_running(pids[0])
    assert list(directory.iterdir()) == []


def test_does_not_outlive_a_killed_maker(directory: Path) -> None:
    script = (
        "import time; from airflow_etl_sync.demo.postgres import EmbeddedPostgres\n"
        "with EmbeddedPostgres() as postgres: print(postgres.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(directory)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as maker:
        assert maker.stdout is not None
        pid = int(maker.stdout.readline())
        assert is_running(pid)
        maker.kill()
    deadline = time.monotonic() + 20
    while any(directory.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(pid)
    assert list(directory.iterdir()) == []


def test_refuses_a_wrong_password() -> None:
    with EmbeddedPostgres() as postgres:
        wrong = postgres.databases.admin.replace(":", ":x", 2).replace(":x//", "://", 1)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_stops_twice_and_starts_again() -> None:
    postgres = EmbeddedPostgres()
    for _ in range(2):
        postgres.start()
        psycopg.connect(postgres.databases.admin).close()
        postgres.stop()
        postgres.stop()


def test_names_the_versions_it_has() -> None:
    with pytest.raises(PostgresStartError, match="no PostgreSQL 9; it offers 16, 18"):
        EmbeddedPostgres(version=9).start()


def test_shows_the_log_when_the_server_refuses_a_setting() -> None:
    with pytest.raises(PostgresStartError, match="no_such_setting"):
        EmbeddedPostgres(settings={"no_such_setting": "1"}).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_runs_from_a_copy_when_the_installation_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_etl_sync.demo.postgres._is_open_to_all", lambda _: False)
    with EmbeddedPostgres() as postgres, psycopg.connect(postgres.databases.admin) as connection:
        folder = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
        assert folder is not None
        assert "/copy/" in folder[0]


@pytest.mark.parametrize("version", [16, 18])
def test_runs_both_versions(version: int) -> None:
    with EmbeddedPostgres(version=version) as postgres, psycopg.connect(postgres.databases.admin) as connection:
        assert connection.info.server_version // 10_000 == version
