"""Who takes part: each brings the same rows into a database of its own, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

from airflow_etl_sync.demo.airflow import as_connection

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DLT_REQUIREMENTS = HERE / "dlt-requirements.txt"
DLT_ENVIRONMENT = ROOT / ".bench" / "dlt"
FLOOR, ONE_TASK, CHAIN, DLT = "floor", "one_task", "chain", "dlt"
AIRFLOW = {"one_task_airflow": ONE_TASK, "chain_airflow": CHAIN}
TITLES = {
    FLOOR: "the floor: COPY into COPY, INSERT … ON CONFLICT",
    ONE_TASK: "one task",
    CHAIN: "chain",
    "one_task_airflow": "one task, in Airflow",
    "chain_airflow": "chain, in Airflow",
    DLT: "dlt (pyarrow, merge/upsert)",
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One who takes part.

    :param command: its process, which reads orders and writes its answer as JSON
    :param environment: of that process
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict, repr=False, hash=False)

    def environment_for(self, source: str, target: str) -> dict[str, str]:
        """The environment, with Airflow's connections where it is Airflow."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG"))}
        connections = {
            "AIRFLOW_CONN_BENCHMARK_SOURCE": as_connection(source),
            "AIRFLOW_CONN_BENCHMARK_TARGET": as_connection(target),
        }
        return inherited | self.environment | (connections if self.name in AIRFLOW else {})


def prepare(folder: Path, *, with_airflow: bool, with_dlt: bool) -> list[Contestant]:
    """All contestants, the floor first; what they need is installed and set up.

    :param folder: an empty folder that lives as long as the benchmark
    """
    contestants = [
        Contestant(FLOOR, _ours("run_floor")),
        Contestant(ONE_TASK, _ours("run_engine")),
        Contestant(CHAIN, _ours("run_engine")),
    ]
    if with_airflow:
        environment = _airflow_environment(folder / "airflow")
        contestants += [Contestant(name, _ours("run_airflow"), environment) for name in AIRFLOW]
    if with_dlt:
        contestants.append(Contestant(DLT, (str(_dlt_python()), str(HERE / "run_dlt.py")), {"HOME": str(folder)}))
    return contestants


def _ours(module: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"tests.benchmarks.{module}"


def _airflow_environment(home: Path) -> dict[str, str]:
    bundle = {
        "name": "benchmark",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(HERE / "bundle"), "refresh_interval": 0},
    }
    environment = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "ETL_SYNC_BENCHMARK_DAGS": str(HERE / "bundle"),
        "PYTHONPATH": str(ROOT),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG"))}
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=inherited | environment, check=True, capture_output=True)
    return environment


def _dlt_python() -> Path:
    """The Python of an environment that holds dlt and nothing of this package; it is kept for the next time."""
    python = DLT_ENVIRONMENT / "bin" / "python"
    installed, wanted = DLT_ENVIRONMENT / "installed.txt", DLT_REQUIREMENTS.read_text()
    if not installed.exists() or installed.read_text() != wanted:
        venv.create(DLT_ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(DLT_REQUIREMENTS)]
        subprocess.run(install, check=True, capture_output=True)
        installed.write_text(wanted)
    return python
