"""Tables of MariaDB whose changes are captured into a warehouse."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from airflow_etl_sync.cdc.binlog.again import NoRowsAgain
from airflow_etl_sync.cdc.binlog.log import BinaryLog
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.history import ApplyMode
from airflow_etl_sync.core.keys import DeleteMode
from airflow_etl_sync.core.model import LoadRules, RunIdentity, TableName
from airflow_etl_sync.journey.cdc import CdcReport, capture
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.journey.copying import CHUNK_ROWS, copy_tables
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.mariadb import MariaDb
from tests.scenarios.forked import fork
from tests.scenarios.streaming import AT_THE_END, COMMIT_FAILPOINTS, ROOT

_runs = count(1)

BINLOG_FAILPOINTS = {
    name: point.replace("cdc.postgres.slot:ReplicationSlot", "cdc.binlog.log:BinaryLog")
    for name, point in COMMIT_FAILPOINTS.items()
}
"""Where a capture may be killed around its commit, whatever it does with changes before."""


@dataclass(frozen=True)
class BinlogCapture:
    """Tables of a database of MariaDB, whose changes go into tables of the same name in the schema ``public``.

    :param root: where a process that is killed leaves its last words
    """

    shop: MariaDb
    warehouse_db: str
    root: Path
    tables: tuple[str, ...] = ("t",)
    rules: LoadRules = field(default_factory=LoadRules)
    delete: DeleteMode = "hard"
    apply: ApplyMode = "upsert"
    copies: bool = True
    copy_chunk_rows: int = CHUNK_ROWS
    limits: CaptureLimits = field(default_factory=CaptureLimits)
    primary_key: tuple[str, ...] = ()
    sync_key: str = "changes"

    def but(self, **changes: Any) -> BinlogCapture:
        return replace(self, **changes)

    @property
    def log(self) -> BinaryLog:
        return BinaryLog(self.shop.access)

    @property
    def terms(self) -> list[CdcTable]:
        return [
            CdcTable(
                source=TableName(name, self.shop.database), target=TableName(name), rules=self.rules,
                delete=self.delete, apply=self.apply, primary_key=self.primary_key,
            )
            for name in self.tables
        ]  # fmt: skip

    def run(self, name: str | None = None, **more: Any) -> CdcReport:
        log = more.pop("log", self.log)
        identity = RunIdentity("dag", "task", name or f"run {next(_runs)} of {os.getpid()}")

        def copy(tables: Sequence[SourceTable], run: Run) -> None:
            copied = [each.terms for each in tables]
            copy_tables(
                log, PostgresAccess(self.warehouse_db), self.sync_key, copied, identity, run,
                chunk_rows=self.copy_chunk_rows,
            )  # fmt: skip

        return capture(
            log, NoRowsAgain(), PostgresAccess(self.warehouse_db), sync_key=self.sync_key, tables_=self.terms,
            identity=identity, limits=self.limits, first_copy=copy if self.copies else None, **more,
        )  # fmt: skip

    def run_killed(self, failpoint: str, name: str | None = None, *, may_survive: bool = False) -> None:
        """Capture in a process of its own, which kills itself at the failpoint.

        :param may_survive: whether the failpoint need not be reached
        """
        errors = self.root / "last-words"
        process = fork(obey, self, name, failpoint, errors=errors)
        process.join()
        if may_survive and process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL, errors.read_text() if errors.exists() else process.exitcode

    def run_measured(self) -> dict[str, Any]:
        """Capture in a fresh process; its peak memory in bytes, and its report."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.scenarios.binlog_world"],
            input=pickle.dumps(self), cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured


def obey(capture: BinlogCapture, name: str | None, failpoint: str) -> None:
    """Capture, and die at a failpoint."""
    from tests.scenarios.doomed import arm, die

    if failpoint == AT_THE_END:
        capture.run(name)
        die()
    arm(failpoint)
    capture.run(name)


def copied(warehouse: psycopg.Connection[Any], columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def told(shop: MariaDb, columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    return shop.execute(f"SELECT {columns} FROM {table} ORDER BY 1")


if __name__ == "__main__":
    from tests.scenarios.binlog_world import BinlogCapture as Known  # by the name under which it was pickled
    from tests.scenarios.measured import peak_bytes

    asked: Known = pickle.load(sys.stdin.buffer)
    report = asked.run("measured")
    json.dump(
        {"peak_bytes": peak_bytes(), "report": report.to_json(), "has_airflow": "airflow" in sys.modules}, sys.stdout
    )
