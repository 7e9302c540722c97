"""A source whose changes are captured into a warehouse, with a hold on every step."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from airflow_etl_sync.cdc.postgres.copy_source import PostgresTables
from airflow_etl_sync.cdc.postgres.reselect import SourceRows
from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.history import ApplyMode
from airflow_etl_sync.core.keys import DeleteMode
from airflow_etl_sync.core.model import LoadRules, RunIdentity, TableName
from airflow_etl_sync.journey.cdc import CdcReport, capture
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.journey.copying import CHUNK_ROWS, copy_tables
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.forked import fork

ROOT = Path(__file__).parents[2]
_runs = count(1)

AT_THE_END = "at the end"
COMMIT_FAILPOINTS = {
    "applied": "after state.cdc_pipelines:set_applied 1",
    "counted": "after state.runs:record_captured 1",
    "committed": "before cdc.postgres.slot:ReplicationSlot.advance 1",
    "acknowledged": "after cdc.postgres.slot:ReplicationSlot.advance 1",
    "closed": AT_THE_END,
}
"""Where a capture may be killed around its commit, whatever it does with changes before."""


def new_dice() -> random.Random:
    """Chance whose seed is printed; ``ETL_SYNC_TEST_SEED`` repeats one."""
    seed = int(os.environ.get("ETL_SYNC_TEST_SEED", random.randrange(10**9)))
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


@dataclass
class Capture:
    """Tables of ``source_db`` whose changes go into tables of the same name in ``warehouse_db``.

    :param copies: whether a run copies the rows that are there before the first
    :param copy_run: under what name; else each process has another
    """

    source_db: str
    warehouse_db: str
    slot_name: str
    root: Path
    tables: tuple[str, ...] = ("t",)
    rules: LoadRules = field(default_factory=LoadRules)
    delete: DeleteMode = "hard"
    apply: ApplyMode = "upsert"
    copies: bool = False
    copy_run: str = ""
    copy_chunk_rows: int = CHUNK_ROWS
    limits: CaptureLimits = field(default_factory=CaptureLimits)
    publication: str = ""

    def but(self, **changes: Any) -> Capture:
        return replace(self, **changes)

    @property
    def slot(self) -> ReplicationSlot:
        return ReplicationSlot(PostgresAccess(self.source_db), self.slot_name, self.publication or self.slot_name)

    @property
    def terms(self) -> list[CdcTable]:
        return [
            CdcTable(
                source=TableName(name), target=TableName(name), rules=self.rules, delete=self.delete, apply=self.apply
            )
            for name in self.tables
        ]

    def set_up(self) -> None:
        self.slot.set_up([TableName(name) for name in self.tables])

    def copy(self, tables: Sequence[SourceTable], run: Run) -> None:
        """Copy what the source has now."""
        copied = [each.terms for each in tables]
        accesses = PostgresTables(PostgresAccess(self.source_db)), PostgresAccess(self.warehouse_db)
        identity = RunIdentity("dag", "task", self.copy_run or f"copy {next(_runs)} of {os.getpid()}")
        copy_tables(*accesses, "changes", copied, identity, run, chunk_rows=self.copy_chunk_rows)

    def run_whole(self, run: str, **more: Any) -> CdcReport:
        """Copy what is not copied yet, then capture, all as one task."""
        return self.but(copies=True, copy_run=run).run(run, **more)

    def run(self, run: str | None = None, **more: Any) -> CdcReport:
        if self.copies:
            more.setdefault("first_copy", self.copy)
        return capture(
            more.pop("slot", self.slot),
            SourceRows(PostgresAccess(self.source_db)),
            PostgresAccess(self.warehouse_db),
            sync_key="changes",
            tables_=self.terms,
            identity=RunIdentity("dag", "task", run or f"run {next(_runs)}"),
            limits=self.limits,
            **more,
        )

    def run_killed(self, failpoint: str, *, may_survive: bool = False) -> None:
        """Capture in a process of its own, which kills itself at the failpoint.

        :param may_survive: whether the failpoint need not be reached
        """
        errors = self.root / "last-words"
        process = fork(obey, self._orders("killed") | {"failpoint": failpoint}, errors=errors)
        process.join()
        if may_survive and process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL, errors.read_text() if errors.exists() else process.exitcode

    def run_measured(self) -> dict[str, Any]:
        """Capture in a fresh process; its peak memory in bytes, and its report."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.scenarios.streaming"],
            input=json.dumps(self._orders("measured")),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured

    def _orders(self, run: str) -> dict[str, Any]:
        return asdict(self) | {"root": str(self.root), "run": run}


def go(orders: dict[str, Any]) -> CdcReport:
    terms = {name: value for name, value in orders.items() if name not in ("run", "failpoint")}
    rules = {**terms["rules"], "primary_key": tuple(terms["rules"]["primary_key"])}
    world = Capture(
        **terms
        | {
            "root": Path(terms["root"]),
            "tables": tuple(terms["tables"]),
            "rules": LoadRules(**rules),
            "limits": CaptureLimits(**terms["limits"]),
        }
    )
    return world.run(orders["run"])


def obey(orders: dict[str, Any]) -> None:
    from tests.scenarios.doomed import arm, die

    if orders["failpoint"] == AT_THE_END:
        go(orders)
        die()
    arm(orders["failpoint"])
    go(orders)


def rows(connection: psycopg.Connection[Any], table: str = "t", columns: str = "*") -> list[tuple[Any, ...]]:
    """The rows of a table as text, in one order on both sides, with their types."""
    return connection.execute(f"SELECT r::text FROM (SELECT {columns} FROM {table}) AS r ORDER BY 1").fetchall()


def types(connection: psycopg.Connection[Any], table: str = "t") -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname",
        [table],
    ).fetchall()


def same(source: psycopg.Connection[Any], warehouse: psycopg.Connection[Any], *tables: str, columns: str = "*") -> bool:
    """Whether tables are equal, row by row and type by type."""
    for table in tables or ("t",):
        assert rows(warehouse, table, columns) == rows(source, table, columns), table
        assert types(warehouse, table) == types(source, table), table
    return True


def totals(warehouse: psycopg.Connection[Any]) -> tuple[int, ...]:
    """What all runs together have counted: changes, inserted, updated, skipped, errors, deleted."""
    row = warehouse.execute(
        "SELECT sum(rows_extracted), sum(inserted), sum(updated), sum(skipped), sum(errors), sum(deleted)"
        " FROM etl_sync.sync_run WHERE kind = 'cdc'"
    ).fetchone()
    assert row is not None
    return tuple(int(number or 0) for number in row)


Slots = Callable[[str], str]

if __name__ == "__main__":
    from tests.scenarios.measured import peak_bytes

    report = go(json.load(sys.stdin))
    json.dump(
        {"peak_bytes": peak_bytes(), "report": report.to_json(), "has_airflow": "airflow" in sys.modules}, sys.stdout
    )
