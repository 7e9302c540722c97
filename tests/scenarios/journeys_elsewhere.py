"""Journeys into a destination away from the state tables, and how they die."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from airflow_etl_sync.core.model import Counts, Extraction, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import DestinationError
from airflow_etl_sync.journey.advance import advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.base import Destination, Merged
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource

Form = Literal["chain", "one_task"]
STREAM = Stream(sync_key="s", cursor_field="id", table=TableName("t"))
CHUNK_ROWS = 3


class Dying:
    """A destination whose task dies between the nth merge's commit and that of the state."""

    def __init__(self, destination: Destination, nth: int) -> None:
        self._destination, self._left = destination, nth
        self.engine, self.target = destination.engine, destination.target
        self.stage, self.recall = destination.stage, destination.recall

    def merge(self, *arguments: Any) -> Merged:
        merged = self._destination.merge(*arguments)
        self._left -= 1
        if not self._left:
            raise DestinationError("the worker was lost")
        return merged


class Journeys:
    def __init__(self, source_db: str, system: Any, root: Path, form: Form) -> None:
        self.system, self.form, self.staging = system, form, Staging(root)
        self.source = PostgresSource(PostgresAccess(source_db), STREAM)
        self.rules = LoadRules()
        self.chunk_rows = CHUNK_ROWS

    def destination(self) -> Destination:
        return self.system.destination("t")  # type: ignore[no-any-return]

    def extract(self, run_id: str, window: WindowRules | None = None) -> Extraction:
        return extract(
            self.source, PostgresAccess(self.system.state).engine(), self.staging,
            stream=STREAM, rules=window or WindowRules(full_refresh=True), identity=RunIdentity("d", "t", run_id),
            chunk_rows=self.chunk_rows,
        )  # fmt: skip

    def go(self, run_id: str, destination: Destination | None = None, extraction: Extraction | None = None) -> Counts:
        destination = destination or self.destination()
        if self.form == "one_task":
            report = sync(
                self.source, destination, stream=STREAM, window_rules=WindowRules(full_refresh=True),
                load_rules=self.rules, identity=RunIdentity("d", "t", run_id), chunk_rows=self.chunk_rows,
            )  # fmt: skip
            return report.counts
        extraction = extraction or self.extract(run_id)
        load(destination, self.staging, extraction, self.rules)
        return advance(destination.engine, self.staging, extraction).counts
