"""A server on this machine that answers BigQuery's client and runs its statements in DuckDB (bqemulator).

It is not BigQuery: it shows that statements and load jobs are read, bound, and do what they say, not how BigQuery keeps
transactions apart: here one waits for the other.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from airflow_etl_sync.systems.bigquery.access import BigQueryAccess

REQUIRED = "ETL_SYNC_REQUIRE_BIGQUERY"
PROJECT = "etl-sync"
_ROOT = Path(__file__).parent.parent
_PYTHON = _ROOT / ".venv-bigquery" / "bin" / "python"
_OLDEST_PYTHON = 0x030B0000
_SECONDS_TO_START = 90


@lru_cache(maxsize=1)
def endpoint() -> str:
    """Where the one server of this process is; it ends with the process."""
    if sys.hexversion < _OLDEST_PYTHON:
        pytest.skip("the emulator of BigQuery needs Python 3.11")
    if not _PYTHON.exists():
        why = "the emulator of BigQuery needs an environment of its own, .venv-bigquery: make test makes it"
        if os.environ.get(REQUIRED):
            pytest.fail(why)
        pytest.skip(why)
    home = tempfile.mkdtemp(prefix="etl_sync_bigquery_")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    rest, grpc = _free_port(), _free_port()
    with (Path(home) / "log").open("wb") as log:
        server = subprocess.Popen(
            [_PYTHON, _ROOT / "tests" / "bigquery_server.py", "start", f"--rest-port={rest}", f"--grpc-port={grpc}"],
            cwd=home, env={"HOME": home, "PATH": os.environ["PATH"]}, stdout=log, stderr=log,
        )  # fmt: skip
    atexit.register(_stop, server)
    _await(server, rest, Path(home) / "log")
    return f"http://127.0.0.1:{rest}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"the emulator of BigQuery does not start: {log.read_text()[-2000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


@dataclass(frozen=True, slots=True)
class BigQuery:
    """A dataset of a test's own."""

    access: BigQueryAccess

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one after another, in which ``{}`` stands for the dataset; the rows of the last."""
        dataset = f"{self.access.project}.{self.access.dataset}"
        with self.access.open() as session:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = session.execute(statement.replace("{}", dataset)).rows
            return rows

    def tables(self) -> list[str]:
        """The names of the dataset's tables."""
        found = self.execute("SELECT table_name FROM `{}`.INFORMATION_SCHEMA.TABLES ORDER BY 1")
        return [name for (name,) in found]


@contextmanager
def new_bigquery() -> Iterator[BigQuery]:
    """A dataset with a random name, dropped in the end."""
    from google.auth.credentials import AnonymousCredentials

    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    dataset = f"etl_sync_{secrets.token_hex(6)}"
    access = BigQueryAccess(
        project=PROJECT, credentials=nobody, dataset=dataset, endpoint=endpoint(), patience_seconds=5
    )
    found = BigQuery(access)
    found.execute("CREATE SCHEMA `{}`")
    yield found
    found.execute("DROP SCHEMA `{}` CASCADE")
