"""``etl-sync init``: what it writes is read and run by Airflow, and the rows arrive."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.demo.comparison import compare
from airflow_etl_sync.demo.shop import Shop
from tests.dags.conftest import Airflow

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SYNC = ("--source-conn-id", "shop_db", "--destination-conn-id", "warehouse")


@pytest.fixture
def made(airflow_environment: dict[str, str]) -> Iterator[Path]:
    """A folder whose DAG files the test's Airflow reads; empty again afterwards."""
    folder = Path(airflow_environment["AIRFLOW_HOME"]) / "made"
    yield folder
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


@pytest.fixture
def init(airflow_environment: dict[str, str], airflow: Airflow) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_etl_sync.cli", "init", *SYNC, *arguments],
            env=airflow_environment | airflow.connections,
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def test_a_dag_file_and_yaml_entries_run_and_the_rows_arrive(
    init: Command, airflow: Airflow, shop: Shop, source_db: str, warehouse_db: str, made: Path
) -> None:
    done = init("--table", "public.orders", "--sync-key", "made_orders", "--dag", str(made / "orders.py"))
    assert done.returncode == 0, done.stderr
    assert "updated_at" in done.stdout and "a time of the last change, with an index" in done.stdout
    for table in ("users", "products"):
        entry = init("--table", f"public.{table}", "--sync-key", f"made_{table}", "--yaml", str(made / "syncs.yaml"))
        assert entry.returncode == 0, entry.stderr
    (made / "factory.py").write_text(
        "from pathlib import Path\nfrom airflow.sdk import DAG\nfrom airflow_etl_sync import dags_from_yaml\n"
        'dags_from_yaml(Path(__file__).with_name("syncs.yaml"))\n'
    )
    for table in ("orders", "users", "products"):
        run = airflow.run(f"made_{table}")
        assert run.state == "success", run.log[-3000:]
        copied = compare(
            source_db, warehouse_db, source_query=f"SELECT * FROM public.{table}",
            destination_table=("public", table), key="id", leave_out="",
        )  # fmt: skip
        assert copied.is_equal and copied.source_rows > 0


def test_nothing_is_overwritten_unless_asked(init: Command, shop: Shop, made: Path) -> None:
    file = made / "orders.py"
    file.write_text("mine = True\n")
    refused = init("--table", "public.orders", "--dag", str(file))
    assert (refused.returncode, file.read_text()) == (1, "mine = True\n")
    assert "is there already" in refused.stderr and len(refused.stderr.splitlines()) == 1
    done = init("--table", "public.orders", "--dag", str(file), "--force", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert {each["argument"]: each["value"] for each in answer["chosen"]}["cursor_field"] == "updated_at"
    assert "incremental_sync(" in file.read_text()


def test_a_refusal_is_one_sentence_and_writes_nothing(init: Command, source: psycopg.Connection, made: Path) -> None:
    source.execute('CREATE TABLE public.notes (note text); CREATE TABLE public."a{{b" (id int PRIMARY KEY)')
    file = ("--dag", str(made / "new.py"))
    for arguments, said in (
        (("--table", "public.nothing", *file), "has no table 'public.nothing'"),
        (("--table", "public.notes", *file), "--primary-key"),
        (("--table", "public.a{{b", "--sync-key", "a", *file), "template"),
        (("--table", "public.a{{b", *file), "--sync-key"),
        (("--table", "public.notes", "--dag", "/nowhere/at/all.py"), "There is no folder"),
    ):
        done = init(*arguments)
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(made.iterdir()) == []
