"""Airflow itself, run for the length of a block: ``airflow standalone`` in a home of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
from psycopg.conninfo import conninfo_to_dict

from airflow_etl_sync.demo.api import AirflowApi
from airflow_etl_sync.demo.guardian import Guardian
from airflow_etl_sync.demo.postgres import HOST, free_port
from airflow_etl_sync.demo.signals import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

USERNAME = "admin"
START_SECONDS = 300.0
STOP_SECONDS = 8.0  # an API server with open connections may take for ever
POLL_SECONDS = 0.5

# Airflow's log servers listen on every interface, and no setting says otherwise.
LOCAL_SETTINGS = f"""
import sys

if sys.argv[1:2] in (["scheduler"], ["triggerer"]):
    import uvicorn

    _run = uvicorn.run
    uvicorn.run = lambda *arguments, **options: _run(*arguments, **(options | {{"host": "{HOST}"}}))
"""


class AirflowStartError(RuntimeError):
    """Airflow did not become healthy; the message ends with its log."""


class Airflow:
    """Airflow with all its components on loopback, as a context manager that leaves no process behind.

    :param home: an empty directory for Airflow's own files, logs and staged chunks.
    :param dags: the folder of DAGs.
    :param metadata: conninfo URI of an empty database, or of one that Airflow has used before.
    :param connections: connections in Airflow's JSON form, by their id.
    :param has_schedules: whether DAGs also run by their schedule, not only when triggered.
    :param guests: other users' roles by their name; each one's password is the administrator's.
    """

    def __init__(
        self,
        *,
        home: Path,
        dags: Path,
        metadata: str,
        connections: Mapping[str, str],
        has_schedules: bool,
        guests: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home
        self._dags = dags
        self._metadata = metadata
        self._connections = connections
        self._has_schedules = has_schedules
        self._roles = {**(guests or {}), USERNAME: "admin"}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: Guardian | None = None
        self.password = secrets.token_urlsafe(12)

    @property
    def address(self) -> str:
        """Where the UI is."""
        return f"http://{HOST}:{self._port}"

    @property
    def log(self) -> Path:
        """The output of all components."""
        return self._home / "standalone.log"

    def __enter__(self) -> Self:
        self._prepare_home()
        try:
            self._process = self._launch()
            self._guardian = Guardian(-self._process.pid, stop_signal="TERM", directory=str(self._home))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_healthy(self, progress: Callable[[str], None]) -> AirflowApi:
        """Wait for all components and return a logged-in client.

        :param progress: told what is being waited for.
        :raises AirflowStartError: with the end of the log.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            waiting_for = self._components_awaited()
            if not waiting_for:
                return AirflowApi.log_in(self.address, USERNAME, self.password)
            progress(f"waiting for {', '.join(waiting_for)}")
            time.sleep(POLL_SECONDS)
        raise AirflowStartError(f"Airflow did not start; its log ends with:\n{self.log_tail()}")

    def stop(self) -> None:
        """Stop all components: one TERM to the process group, and KILL for what is left after a while.

        Tasks run in process groups of their own, so the descendants are also followed one by one.
        """
        with uninterrupted():
            process, self._process = self._process, None
            if process is not None:
                _stop_family(process)
            guardian, self._guardian = self._guardian, None
            if guardian is not None:
                guardian.dismiss()

    def log_tail(self, lines: int = 25) -> str:
        """Return the end of the components' output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def task_log_tail(self, dag_id: str, run_id: str, lines: int = 15) -> str:
        """Return the end of the newest task log of a run."""
        folder = self._home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
        logs = sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
        if not logs:
            return "The run has written no log."
        entries = logs[-1].read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"{logs[-1].relative_to(folder)}:", *map(_readable, entries)])

    def _prepare_home(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = self._home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps(dict.fromkeys(self._roles, self.password)))
        (self._home / "config").mkdir(exist_ok=True)
        (self._home / "config" / "airflow_local_settings.py").write_text(LOCAL_SETTINGS)

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("airflow")), "standalone"],
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
        connections = {f"AIRFLOW_CONN_{name.upper()}": each for name, each in self._connections.items()}
        settings = {f"AIRFLOW__{name}": value for name, value in self._settings().items()}
        return inherited | {"PATH": path, "AIRFLOW_HOME": str(self._home)} | connections | settings

    def _settings(self) -> dict[str, str]:
        return {
            "CORE__DAGS_FOLDER": str(self._dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "4",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self._roles.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._home / "passwords.json"),
            "DATABASE__SQL_ALCHEMY_CONN": self._metadata.replace("postgresql://", "postgresql+psycopg2://", 1),
            "API__HOST": HOST,
            "API__PORT": str(self._port),
            "API__BASE_URL": self.address,
            "API__WORKERS": "1",
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "SCHEDULER__USE_JOB_SCHEDULE": str(self._has_schedules),
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def _components_awaited(self) -> list[str]:
        try:
            answer = httpx.get(f"{self.address}/api/v2/monitor/health", timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError:
            return ["the API server"]
        states = {name: (state or {}).get("status") for name, state in answer.json().items()}
        awaited = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return [f"the {name.replace('_', ' ')}" for name in awaited if states.get(name) != "healthy"]


def as_connection(conninfo: str, *, conn_type: str = "postgres", extra: Mapping[str, str] | None = None) -> str:
    """Return a conninfo in the JSON form that Airflow reads from ``AIRFLOW_CONN_*``.

    :param extra: further fields of this type of connection.
    """
    parts = conninfo_to_dict(conninfo)
    return json.dumps(
        {
            "conn_type": conn_type,
            "host": parts.get("host"),
            "port": int(parts.get("port") or 5432),
            "login": parts.get("user"),
            "password": parts.get("password"),
            "schema": parts.get("dbname"),
            "extra": dict(extra or {}),
        }
    )


def packaged_dags() -> Path:
    """Return the folder of the templates: a checkout's ``dags``, else the copy in the installed package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "example_dags"
    return installed if installed.is_dir() else package.parent / "dags"


def _readable(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    reasons = [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or ()]
    return " ".join(filter(None, [entry.get("level", ""), str(entry.get("event", "")), *reasons]))


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _stop_family(process: subprocess.Popen[bytes]) -> None:
    family = _family(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for survivor in left:
        _kill(survivor)
    psutil.wait_procs(left, timeout=STOP_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers so for a group of zombies
        return
