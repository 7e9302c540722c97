"""Airflow spread over several machines: each component with a home, a log and an environment of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from typing_extensions import Self

from airflow_etl_sync.demo.api import AirflowApi
from airflow_etl_sync.demo.guardian import Guardian
from airflow_etl_sync.demo.postgres import HOST, free_port

AIRFLOW = Path(sys.executable).with_name("airflow")
USERNAME = "admin"
START_SECONDS = 300.0
STOP_SECONDS = 10.0
NOT_INHERITED = ("AIRFLOW", "AWS", "PG")


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait for something to become true.

    :raises AssertionError: naming it, where it does not in time
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


class Process:
    """A process with all its descendants, which ends with the block, or with the tests however they end."""

    def __init__(self, command: list[str], home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.log = home / "output.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=home, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._guardian = Guardian(-self._process.pid, stop_signal="TERM")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        family = self._family()
        if self.is_running:
            self._process.terminate()
        psutil.wait_procs(family, timeout=STOP_SECONDS)
        self._kill(family)
        self._guardian.dismiss()

    def lose_power(self) -> None:
        """End it and all its descendants at one moment, without a word to anybody."""
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()  # else those that are killed first could still be missed by the others
        self._kill(self._family() or family)

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=STOP_SECONDS)
        self._process.wait(STOP_SECONDS)


@dataclass(slots=True)
class Cluster:
    """A scheduler, a DAG processor and an API server on one machine, and Celery workers on machines of their own.

    The workers are given what a worker must have, and nothing else: broker, the API server's address, the DAGs. They
    have no way to Airflow's database, and connections come to them from Airflow.

    :param root: an empty directory for the homes of all
    :param metadata: conninfo URI of an empty database
    :param settings: further settings of all components, as in ``ETL_SYNC__STAGING_URI``
    """

    root: Path
    dags: Path
    metadata: str
    settings: Mapping[str, str]
    api: AirflowApi = field(init=False)
    workers: list[Process] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _port: int = field(default_factory=free_port)
    _broker_port: int = field(default_factory=free_port)
    _password: str = field(default_factory=secrets.token_hex)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_worker(self) -> Process:
        """Start a worker on a machine of its own that runs two tasks at once."""
        number = len(self.workers) + 1
        worker = self._start_airflow(
            f"worker-{number}", self._shared_settings(),
            "celery", "worker", "--concurrency", "2", "--celery-hostname", f"worker-{number}", "--skip-serve-logs",
            "--without-mingle", "--without-gossip",
        )  # fmt: skip
        self.workers.append(worker)
        wait_until(f"worker {number} is ready", lambda: " ready." in worker.log.read_text(errors="replace"))
        return worker

    def add_connection(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Store a connection in Airflow, as its form does."""
        body = {"connection_id": conn_id, **fields}
        self.api.send("POST", "/api/v2/connections", json=body).raise_for_status()

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = self.api.send("GET", path).raise_for_status().json()["task_instances"]
        return found

    def wait_for_run(self, dag_id: str, run_id: str) -> None:
        """Wait until a run has ended well, however many tries its tasks need."""

        def state() -> str:
            answer = self.api.send("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
            return str(answer.raise_for_status().json()["state"])

        wait_until(f"the end of {run_id}", lambda: state() in ("success", "failed"))
        assert state() == "success", self.task_instances(dag_id, run_id)

    def output(self) -> str:
        """All that any component has written into files."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path.name != "passwords.json"]
        return "\n".join(path.read_text(errors="replace") for path in files)

    def _start(self) -> None:
        self._start_broker()
        control = self._shared_settings() | self._control_settings()
        subprocess.run(
            [AIRFLOW, "db", "migrate"], env=self._environment(self.root / "migration", control), check=True,
            capture_output=True, timeout=START_SECONDS,
        )  # fmt: skip
        components = [self._start_airflow(name, control, name) for name in ("api-server", "scheduler", "dag-processor")]

        def is_healthy() -> bool:
            for component in components:
                assert component.is_running, component.log.read_text(errors="replace")
            return self._is_healthy()

        wait_until("Airflow is healthy", is_healthy)
        self.api = AirflowApi.log_in(self._address, USERNAME, self._password)

    def _start_broker(self) -> None:
        home = self.root / "broker"
        home.mkdir(parents=True)
        redis = shutil.which("redis-server")
        assert redis
        options = {"--port": str(self._broker_port), "--bind": HOST, "--save": "", "--appendonly": "no"}
        command = [redis, *(word for pair in options.items() for word in pair)]
        broker = self._stack.enter_context(Process(command, home, os.environ))
        wait_until("the broker listens", lambda: "Ready to accept connections" in broker.log.read_text())

    def _start_airflow(self, name: str, settings: Mapping[str, str], *command: str) -> Process:
        environment = self._environment(self.root / name, settings)
        return self._stack.enter_context(Process([str(AIRFLOW), *command], self.root / name, environment))

    def _environment(self, home: Path, settings: Mapping[str, str]) -> dict[str, str]:
        home.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        path = os.pathsep.join([str(AIRFLOW.parent), inherited.get("PATH", os.defpath)])
        named = {f"AIRFLOW__{name}": value for name, value in settings.items()}
        return inherited | {"AIRFLOW_HOME": str(home), "PATH": path} | named

    @property
    def _address(self) -> str:
        return f"http://{HOST}:{self._port}"

    def _shared_settings(self) -> dict[str, str]:
        bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
        bundles = [{"name": "dags", "classpath": bundle, "kwargs": {"path": str(self.dags)}}]
        broker = f"redis://{HOST}:{self._broker_port}"
        return {
            "CELERY__BROKER_URL": f"{broker}/0",
            "CELERY__RESULT_BACKEND": f"{broker}/1",
            "CORE__EXECUTION_API_SERVER_URL": f"{self._address}/execution/",
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__LOAD_EXAMPLES": "False",
            "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            # A worker that is gone is noticed after this time; five minutes by default.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        } | dict(self.settings)

    def _control_settings(self) -> dict[str, str]:
        passwords = self.root / "passwords.json"
        passwords.write_text(json.dumps({USERNAME: self._password}))
        return {
            "API__BASE_URL": self._address,
            "API__HOST": HOST,
            "API__PORT": str(self._port),
            "API__SECRET_KEY": secrets.token_hex(32),
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "DATABASE__SQL_ALCHEMY_CONN": self.metadata.replace("postgresql://", "postgresql+psycopg2://", 1),
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        }

    def _is_healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self._address}/api/v2/monitor/health", timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError:
            return False
        components = ("metadatabase", "scheduler", "dag_processor")
        return all((answer.json().get(name) or {}).get("status") == "healthy" for name in components)
