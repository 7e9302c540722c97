"""Airflow with a migrated metadata database of its own, and a shop with a warehouse to run DAGs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_etl_sync.demo.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "dags"
TEST_DAGS = Path(__file__).with_name("bundle")
PLUGINS = Path(__file__).with_name("plugins")
ORDERS = 300


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run of a DAG."""

    run_id: str
    state: str
    tasks: tuple[dict[str, Any], ...]
    errors: tuple[str, ...]
    log: str

    def results(self, task_id: str) -> list[Any]:
        """Give what the task returned, for each of its mapped copies."""
        return [task["result"] for task in self.tasks if task["task_id"] == task_id]

    def counts(self, task_id: str) -> dict[str, int]:
        """Add up the counts of all copies of a task."""
        each = [result.get("counts", result) for result in self.results(task_id)]
        return {name: sum(counts[name] for counts in each) for name in ("inserted", "updated", "skipped", "errors")}

    @property
    def tries(self) -> int:
        return max(int(task["try_number"]) for task in self.tasks)


@dataclass(slots=True)
class Airflow:
    """A process that runs DAGs, with the connections that the test gives."""

    process: subprocess.Popen[str]
    errors: Path
    log: Path
    connections: dict[str, str] = field(default_factory=dict, repr=False)

    def connect(self, conn_id: str, conninfo: str, **changes: Any) -> None:
        """Define a connection, as Airflow's environment variables do."""
        self.connections[f"AIRFLOW_CONN_{conn_id.upper()}"] = as_connection(conninfo, **changes)

    def run(self, dag_id: str, **conf: Any) -> Run:
        """Run a DAG to its end."""
        self.errors.write_text("")
        os.truncate(self.log, 0)
        request = {"dag_id": dag_id, "conf": conf, "environment": self.connections}
        answer = self._ask(json.dumps(request))
        errors = tuple(self.errors.read_text().splitlines())
        return Run(
            answer["run_id"], answer["state"], tuple(answer["tasks"]), errors, self.log.read_text(errors="replace")
        )

    def _ask(self, request: str) -> dict[str, Any]:
        stdin, stdout = _pipe(self.process.stdin), _pipe(self.process.stdout)
        stdin.write(request + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, f"the process that runs DAGs has ended: {self.log.read_text(errors='replace')}"
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an Airflow of the tests' own, its database migrated."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "made").mkdir()
    folders = [str(TEMPLATES), str(TEST_DAGS), str(home / "made")]
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": Path(path).name, "classpath": bundle, "kwargs": {"path": path, "refresh_interval": 0}}
        for path in folders
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG"))}
    environment = inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "ETL_SYNC_TEST_FOLDERS": json.dumps(folders),
        "ETL_SYNC_TEST_ERRORS": str(home / "errors.txt"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=180)
    return environment


@pytest.fixture(scope="session")
def airflow_process(airflow_environment: dict[str, str]) -> Iterator[Airflow]:
    """The one process in which all DAGs of the session run."""
    with running_airflow(airflow_environment) as airflow:
        yield airflow


@contextmanager
def running_airflow(environment: dict[str, str]) -> Iterator[Airflow]:
    """A process that runs DAGs in that environment."""
    worker, log = Path(__file__).with_name("worker.py"), Path(environment["AIRFLOW_HOME"]) / "worker.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, str(worker)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    yield Airflow(process, Path(environment["ETL_SYNC_TEST_ERRORS"]), log)
    _pipe(process.stdin).close()
    process.wait(60)
    _pipe(process.stdout).close()


@pytest.fixture
def airflow(airflow_process: Airflow, source_db: str, warehouse_db: str) -> Airflow:
    """Airflow with connections to a fresh shop and a fresh warehouse."""
    airflow_process.connections.clear()
    airflow_process.connect("shop_db", source_db)
    airflow_process.connect("warehouse", warehouse_db)
    return airflow_process


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where OpenLineage's file transport writes what it is told."""
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="module")
def told_process(airflow_environment: dict[str, str], notes: Path) -> Iterator[Airflow]:
    """A process of Airflow that writes lineage into a file."""
    transport = json.dumps({"type": "file", "log_file_path": str(notes), "append": True})
    settings = {"AIRFLOW__OPENLINEAGE__TRANSPORT": transport, "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests"}
    with running_airflow(airflow_environment | settings) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def filled_shop() -> Callable[[str], Shop]:
    """A maker of shops with some orders."""

    def fill(conninfo: str) -> Shop:
        shop = Shop(conninfo)
        shop.create(ORDERS)
        return shop

    return fill


@pytest.fixture
def shop(source_db: str, filled_shop: Callable[[str], Shop]) -> Shop:
    """A shop in the source database."""
    return filled_shop(source_db)


def watermarks(warehouse: psycopg.Connection) -> list[str]:
    """Give all stored watermarks, byte for byte; none where the table is not there yet."""
    exists = warehouse.execute("SELECT to_regclass('etl_sync.watermark') IS NOT NULL").fetchone()
    if exists != (True,):
        return []
    return [str(row[0]) for row in warehouse.execute("SELECT watermark::text FROM etl_sync.watermark ORDER BY 1")]


def as_connection(conninfo: str, **changes: Any) -> str:
    """Give a connection in the JSON form of Airflow's environment variables."""
    parts = conninfo_to_dict(conninfo)
    fields = {
        "conn_type": "postgres",
        "host": parts.get("host"),
        "port": int(parts.get("port") or 5432),
        "login": parts.get("user"),
        "password": parts.get("password"),
        "schema": parts.get("dbname"),
    }
    return json.dumps(fields | changes)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
