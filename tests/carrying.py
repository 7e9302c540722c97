"""Carry a stream from one test database to another, in either form."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from airflow_etl_sync.core.model import Counts, Extraction, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.core.transform import Transform
from airflow_etl_sync.journey.advance import Advanced, advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource

Form = Literal["chain", "one_task"]
FORMS: tuple[Form, ...] = ("chain", "one_task")

_runs = count()


@dataclass
class Carrier:
    """A source and a destination database, and a staging root between them."""

    source_db: str
    warehouse_db: str
    root: Path
    chunk_rows: int = 1000
    transform: Transform | None = None
    run_id: str = field(default_factory=lambda: f"run-{next(_runs)}")

    @property
    def staging(self) -> Staging:
        return Staging(self.root)

    def destination(self, target: TableName) -> PostgresDestination:
        return PostgresDestination(PostgresAccess(self.warehouse_db), target)

    def extract(self, stream: Stream, window: WindowRules | None = None) -> Extraction:
        source = PostgresAccess(self.source_db)
        return extract(
            PostgresSource(source, stream),
            PostgresAccess(self.warehouse_db).engine(),
            self.staging,
            stream=stream,
            rules=window or WindowRules(),
            identity=self._next_identity(),
            chunk_rows=self.chunk_rows,
        )

    def load(self, extraction: Extraction, target: TableName, rules: LoadRules | None = None) -> Counts:
        return load(self.destination(target), self.staging, extraction, rules or LoadRules(), 1, self.transform)

    def advance(self, extraction: Extraction) -> Advanced:
        return advance(PostgresAccess(self.warehouse_db).engine(), self.staging, extraction)

    def chain(
        self, stream: Stream, target: TableName, rules: LoadRules | None = None, window: WindowRules | None = None
    ) -> Counts:
        """Extract, load and advance, the extraction going through JSON as XCom does it."""
        handed_on = [part.to_json() for part in self.extract(stream, window).parts(4)]
        counts = sum((self.load(Extraction.from_xcom(part), target, rules) for part in handed_on), Counts())
        assert self.advance(Extraction.from_xcom(handed_on)).counts == counts
        return counts

    def one_task(
        self, stream: Stream, target: TableName, rules: LoadRules | None = None, window: WindowRules | None = None
    ) -> Counts:
        report = sync(
            PostgresSource(PostgresAccess(self.source_db), stream),
            self.destination(target),
            stream=stream,
            window_rules=window or WindowRules(),
            load_rules=rules or LoadRules(),
            identity=self._next_identity(),
            chunk_rows=self.chunk_rows,
            transform=self.transform,
        )
        return report.counts

    def carry(
        self,
        form: Form,
        stream: Stream,
        target: TableName,
        rules: LoadRules | None = None,
        window: WindowRules | None = None,
    ) -> Counts:
        return getattr(self, form)(stream, target, rules, window)  # type: ignore[no-any-return]

    def _next_identity(self) -> RunIdentity:
        return RunIdentity("dag", "task", f"{self.run_id}-{next(_runs)}")
