"""Syncs declared in YAML, run by Airflow; and what becomes of the others where one of them is wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_etl_sync.demo.comparison import Comparison, compare
from tests.dags.conftest import ORDERS, TEMPLATES, TEST_DAGS, Airflow

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from airflow_etl_sync.demo.shop import Shop

BAD_LINE = "declared.yaml, line 13: sync 'declared_badly': one_task has no key cursor_feld: did you mean cursor_field?"


def test_every_kind_of_sync_runs(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection,
    source_db: str, warehouse_db: str, slots: Callable[[str], str],
) -> None:  # fmt: skip
    def copy(table: str, leave_out: str = "") -> Comparison:
        return compare(
            source_db, warehouse_db, source_query=f"SELECT * FROM public.{table}",
            destination_table=("public", f"shop_{table}"), key="id", leave_out=leave_out,
        )  # fmt: skip

    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra={"slot": slots(source_db)})
    for dag_id in ("shop_orders", "shop_users", "shop_items_by_cdc"):
        run = airflow.run(dag_id)
        assert run.state == "success", (dag_id, run.errors)
    assert all(copy(table).is_equal for table in ("orders", "users", "items"))

    source.execute("DELETE FROM public.items WHERE order_id = 7")
    source.execute("DELETE FROM public.orders WHERE id = 7")
    source.execute("UPDATE public.users SET email = 'new@example.org' WHERE id = 3")
    assert airflow.run("shop_users").counts("sync")["updated"] == 1
    assert airflow.run("shop_items_by_cdc").state == "success"
    assert airflow.run("shop_orders_deleted").results("reconcile")[0]["deleted"] == 1
    assert all(copy(table).is_equal for table in ("users", "items"))
    assert warehouse.execute("SELECT id FROM public.shop_orders WHERE _sync_deleted").fetchall() == [(7,)]
    full = airflow.run("shop_orders", full_refresh=True)
    assert full.counts("sync.load") == {"inserted": 0, "updated": 0, "skipped": ORDERS - 1, "errors": 0}


def test_a_wrong_entry_s_dag_fails_with_line_and_reason_and_the_others_run(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection
) -> None:
    assert airflow.run("declared_well").state == "success"
    assert warehouse.execute("SELECT count(*) > 0 FROM public.well").fetchone() == (True,)
    bad = airflow.run("declared_badly")
    assert (bad.state, bad.tries) == ("failed", 1)
    assert BAD_LINE in bad.log


@pytest.fixture
def reserialized(airflow_environment: dict[str, str], tmp_path: Path) -> Callable[[], None]:
    """Lets Airflow read a bundle with a wrong entry into its database, as its DAG processor does."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("declared.yaml", "declared.py"):
        shutil.copy(TEST_DAGS / name, bundle)
    errors = (TEMPLATES / "sync_factory_errors.py").read_text().replace("syncs.yaml", "declared.yaml")
    (bundle / "declared_errors.py").write_text(errors)
    configured = [
        {
            "name": "declared",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(bundle), "refresh_interval": 0},
        }
    ]
    environment = airflow_environment | {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(configured)}

    def read() -> None:
        command = [sys.executable, "-m", "airflow", "dags", "reserialize", "--bundle-name", "declared"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)

    return read


def test_the_import_error_names_the_entry_and_hides_no_dag(
    airflow_environment: dict[str, str], reserialized: Callable[[], None], tmp_path: Path
) -> None:
    """Airflow takes every DAG of a file with an import error for stale, so the error comes from a file without any."""

    def ask(query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(Path(airflow_environment["AIRFLOW_HOME"]) / "airflow.db")) as database:
            return database.execute(query).fetchall()

    dags = "SELECT dag_id, is_stale, has_import_errors FROM dag WHERE bundle_name = 'declared' ORDER BY dag_id"
    errors = "SELECT filename, stacktrace FROM import_error WHERE bundle_name = 'declared'"
    reserialized()
    assert ask(dags) == [("declared_badly", 0, 0), ("declared_well", 0, 0)]
    [(file, text)] = ask(errors)
    assert file == "declared_errors.py"
    assert BAD_LINE in str(text)

    mended = tmp_path / "bundle" / "declared.yaml"
    mended.write_text(mended.read_text().replace("cursor_feld", "cursor_field"))
    reserialized()
    assert ask(dags) == [("declared_badly", 0, 0), ("declared_well", 0, 0)]
    assert ask(errors) == []
