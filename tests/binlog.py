"""A MariaDB of a test session's own, which writes a binary log: the machine's own server writes none."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from tests.mariadb import REQUIRED, MariaDb

SETTINGS = (
    "--log-bin=shop-bin",
    "--server-id=7",
    "--binlog-format=ROW",
    "--binlog-row-metadata=FULL",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
)
_START_SECONDS = 60


@contextmanager
def logging_mariadb(root: Path, *settings: str) -> Iterator[MariaDb]:
    """A server in a directory of its own, stopped in the end; skips, or fails where it must be there, without one.

    :param settings: for the server, after those that are usual here
    """
    programs = [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS]
    if None in programs:
        reason = f"this machine has no {' and no '.join(PROGRAMS)}"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason}, and {REQUIRED} is set", pytrace=False)
        pytest.skip(reason)
    install, serve = map(str, programs)
    owner = "--user=root" if os.geteuid() == 0 else f"--user={os.environ.get('USER', 'nobody')}"
    data = root / "data"
    made = [install, "--no-defaults", owner, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([*made, f"--datadir={data}"], check=True, capture_output=True)
    port = free_port()
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(
            [serve, "--no-defaults", owner, f"--datadir={data}", f"--port={port}",
             f"--socket={root / 's'}", f"--pid-file={root / 'pid'}", *SETTINGS, *settings],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield _ready(MariaDb("127.0.0.1", port, "root", "", "mysql"), server, root / "server.log")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


PROGRAMS = ("mariadb-install-db", "mariadbd")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def new_database(server: MariaDb) -> Iterator[MariaDb]:
    """A database with a random name, dropped in the end."""
    name = f"shop_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield MariaDb(server.host, server.port, server.login, server.password, name)
    finally:
        server.execute(f"DROP DATABASE {name}")


def _ready(server: MariaDb, process: subprocess.Popen[bytes], log: Path) -> MariaDb:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.execute("SELECT 1")
        except pymysql.err.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return server
