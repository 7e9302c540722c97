"""S20: the worker's memory does not grow with the number of keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
FEW, MANY = 20_000, 200_000

WEIGH = """
import json, resource, sys
from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import RunIdentity, TableName
from airflow_etl_sync.journey.reconcile import reconcile
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.comparison import PostgresKeyDestination
from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
source, warehouse, table = json.load(sys.stdin)
report = reconcile(
    PostgresKeySource(PostgresAccess(source), KeyStream(sync_key=table, table=TableName(table))),
    PostgresKeyDestination(PostgresAccess(warehouse), TableName(table)),
    sync_key=table,
    rules=ReconcileRules(max_delete_percent=100),
    identity=RunIdentity("dag", "task", table),
)
print(report.settled.deleted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def weigh(source_db: str, warehouse_db: str, table: str) -> tuple[int, int]:
    """Rows deleted, and the peak memory in MB, of a reconcile in a process of its own."""
    orders = json.dumps([source_db, warehouse_db, table])
    done = subprocess.run(
        [sys.executable, "-c", WEIGH], input=orders, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    deleted, megabytes = map(int, done.stdout.split())
    return deleted, megabytes


@pytest.mark.scenario("S20")
def test_memory_is_flat(
    source: psycopg.Connection, warehouse: psycopg.Connection, source_db: str, warehouse_db: str
) -> None:
    """A third of the rows are gone, and the keys of the larger table alone would take 30 MB."""
    weights = {}
    for rows in (FEW, MANY):
        for connection, kept in ((warehouse, rows * 3 // 2), (source, rows)):
            connection.execute(f"CREATE TABLE t{rows} (id text PRIMARY KEY)")
            connection.execute(f"INSERT INTO t{rows} SELECT repeat('x', 140) || i FROM generate_series(1, {kept}) AS i")
        deleted, weights[rows] = weigh(source_db, warehouse_db, f"t{rows}")
        assert deleted == rows // 2
    assert weights[MANY] - weights[FEW] < 12, weights
