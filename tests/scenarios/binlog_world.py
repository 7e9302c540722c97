"""Tables of MariaDB whose changes are captured into a warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
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

_runs = count(1)


@dataclass(frozen=True)
class BinlogCapture:
    """Tables of a database of MariaDB, whose changes go into tables of the same name in the schema ``public``."""

    shop: MariaDb
    warehouse_db: str
    tables: tuple[str, ...] = ("t",)
    rules: LoadRules = field(default_factory=LoadRules)
    delete: DeleteMode = "hard"
    apply: ApplyMode = "upsert"
    copies: bool = True
    copy_chunk_rows: int = CHUNK_ROWS
    limits: CaptureLimits = field(default_factory=CaptureLimits)

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
                delete=self.delete, apply=self.apply,
            )
            for name in self.tables
        ]  # fmt: skip

    def run(self, name: str | None = None, **more: Any) -> CdcReport:
        log = more.pop("log", self.log)
        identity = RunIdentity("dag", "task", name or f"run {next(_runs)}")

        def copy(tables: Sequence[SourceTable], run: Run) -> None:
            copied = [each.terms for each in tables]
            copy_tables(
                log, PostgresAccess(self.warehouse_db), "changes", copied, identity, run,
                chunk_rows=self.copy_chunk_rows,
            )  # fmt: skip

        return capture(
            log, NoRowsAgain(), PostgresAccess(self.warehouse_db), sync_key="changes", tables_=self.terms,
            identity=identity, limits=self.limits, first_copy=copy if self.copies else None, **more,
        )  # fmt: skip


def copied(warehouse: psycopg.Connection[Any], columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def told(shop: MariaDb, columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    return shop.execute(f"SELECT {columns} FROM {table} ORDER BY 1")
