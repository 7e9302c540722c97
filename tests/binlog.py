"""A MariaDB of a test session's own, which writes a binary log: the machine's own server writes none."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
PROGRAMS = ("mariadb-install-db", "mariadbd")
_START_SECONDS, _STOP_SECONDS = 60, 60


@dataclass
class LoggingServer:
    """A server in a directory of its own, which may be stopped, killed and started again.

    :param settings: for the server, after those that are usual here
    """

    root: Path
    programs: tuple[str, str]
    settings: tuple[str, ...] = ()
    database: MariaDb = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.database = MariaDb("127.0.0.1", free_port(), "root", "", "mysql")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def newest_file(self) -> Path:
        """The file of the log that is written."""
        return max(self.data.glob("shop-bin.[0-9]*"))

    def install(self) -> None:
        usual = ["--no-defaults", _owner(), "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([self.programs[0], *usual, f"--datadir={self.data}"], check=True, capture_output=True)

    def start(self) -> MariaDb:
        """Start it, and wait until it answers."""
        log = self.root / "server.log"
        with log.open("a") as output:
            self._process = subprocess.Popen(
                [self.programs[1], "--no-defaults", _owner(), f"--datadir={self.data}", f"--port={self.database.port}",
                 f"--socket={self.root / 's'}", f"--pid-file={self.root / 'pid'}", *SETTINGS, *self.settings],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return _ready(self.database, self._process, log)

    def stop(self) -> None:
        """Let it shut down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """Let it end at once, whatever it is about."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)


def _owner() -> str:
    return "--user=root" if os.geteuid() == 0 else f"--user={os.environ.get('USER', 'nobody')}"


@contextmanager
def logging_server(root: Path, *settings: str) -> Iterator[LoggingServer]:
    """A server, stopped in the end; skips, or fails where it must be there, without one."""
    install, serve = [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS]
    if install is None or serve is None:
        reason = f"this machine has no {' and no '.join(PROGRAMS)}"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason}, and {REQUIRED} is set", pytrace=False)
        pytest.skip(reason)
    server = LoggingServer(root, (install, serve), settings)
    root.mkdir(parents=True, exist_ok=True)
    server.install()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def logging_mariadb(root: Path, *settings: str) -> Iterator[MariaDb]:
    """The way to such a server, for who does not stop it."""
    with logging_server(root, *settings) as server:
        yield server.database


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
