"""Two databases and one sync between them, with a hold on every step."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import psycopg
from typing_extensions import Self

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import Counts, Extraction, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.journey.advance import Advanced, advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.reconcile import ReconcileReport, reconcile
from airflow_etl_sync.journey.sync import SyncReport, sync
from airflow_etl_sync.systems.base import Destination, KeySource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.comparison import PostgresKeyDestination
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.scenarios.forked import fork

Form = Literal["chain", "one_task"]
FORMS: tuple[Form, ...] = ("chain", "one_task")
ROOT = Path(__file__).parents[2]

_runs = count(1)


@dataclass
class World:
    """One stream, read from ``source_db`` and kept in step in ``warehouse_db``.

    :param run: a name for the run; the same name is the same task, tried again
    """

    source_db: str
    warehouse_db: str
    root: Path
    stream: Stream = field(default_factory=lambda: Stream(sync_key="t", cursor_field="c", table=TableName("t")))
    rules: WindowRules = field(default_factory=WindowRules)
    load_rules: LoadRules = field(default_factory=LoadRules)
    chunk_rows: int = 1_000

    def but(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def streaming(self, **changes: Any) -> Self:
        return replace(self, stream=replace(self.stream, **changes))

    @property
    def staging(self) -> Staging:
        return Staging(self.root)

    @property
    def reader(self) -> PostgresSource:
        return PostgresSource(PostgresAccess(self.source_db), self.stream)

    @property
    def destination(self) -> Destination:
        return PostgresDestination(PostgresAccess(self.warehouse_db), TableName("t"))

    def extract(self, run: str | None = None, reader: PostgresSource | None = None) -> Extraction:
        extraction = extract(
            reader or self.reader,
            self.destination.engine,
            self.staging,
            stream=self.stream,
            rules=self.rules,
            identity=self._identity(run),
            chunk_rows=self.chunk_rows,
        )
        return Extraction.from_xcom([part.to_json() for part in extraction.parts(3)])

    def load(self, extraction: Extraction, try_number: int = 1) -> Counts:
        parts = extraction.parts(3)
        return sum(
            (load(self.destination, self.staging, part, self.load_rules, try_number) for part in parts), Counts()
        )

    def advance(self, extraction: Extraction) -> Advanced:
        return advance(self.destination.engine, self.staging, extraction)

    def sync(self, run: str | None = None, reader: PostgresSource | None = None, try_number: int = 1) -> SyncReport:
        return sync(
            reader or self.reader,
            self.destination,
            stream=self.stream,
            window_rules=self.rules,
            load_rules=self.load_rules,
            identity=self._identity(run),
            chunk_rows=self.chunk_rows,
            try_number=try_number,
        )

    def reconcile(
        self,
        rules: ReconcileRules,
        run: str | None = None,
        *,
        keys: KeyStream | None = None,
        source: KeySource | None = None,
        block_rows: int = 4,
    ) -> ReconcileReport:
        keys = keys or KeyStream(sync_key="t", table=TableName("t"))
        return reconcile(
            source or PostgresKeySource(PostgresAccess(self.source_db), keys),
            PostgresKeyDestination(PostgresAccess(self.warehouse_db), TableName("t")),
            sync_key=keys.sync_key,
            rules=rules,
            identity=self._identity(run),
            block_rows=block_rows,
        )

    def run(self, form: Form = "one_task", run: str | None = None, reader: PostgresSource | None = None) -> Counts:
        """Go the whole way once; what became of the rows."""
        if form == "one_task":
            return self.sync(run, reader).counts
        extraction = self.extract(run, reader)
        loaded = self.load(extraction)
        counts = self.advance(extraction).counts
        assert counts == loaded
        return counts

    def run_killed(self, step: str, failpoint: str, run: str, extraction: Extraction | None = None) -> None:
        """Take one step in a process of its own, which kills itself at the failpoint."""
        from tests.scenarios.doomed import obey

        errors = self.root.with_name("last-words")
        process = fork(obey, self._orders(step, run, extraction) | {"failpoint": failpoint}, errors=errors)
        process.join()
        assert process.exitcode == -signal.SIGKILL, errors.read_text() if errors.exists() else process.exitcode

    def run_measured(self, step: str, run: str, extraction: Extraction | None = None) -> dict[str, Any]:
        """Take one step in a fresh process; its peak memory in bytes, and what the step returned."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.scenarios.measured"],
            input=json.dumps(self._orders(step, run, extraction)),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured

    def _orders(self, step: str, run: str, extraction: Extraction | None) -> dict[str, Any]:
        return {
            "source_db": self.source_db,
            "warehouse_db": self.warehouse_db,
            "root": str(self.root),
            "stream": asdict(self.stream),
            "load_rules": asdict(self.load_rules),
            "chunk_rows": self.chunk_rows,
            "step": step,
            "run": run,
            "extraction": extraction.to_json() if extraction else None,
        }

    def _identity(self, run: str | None) -> RunIdentity:
        return RunIdentity("dag", "task", run or f"run {next(_runs)}")


def rows(connection: psycopg.Connection, columns: str = "*") -> list[tuple[Any, ...]]:
    """The rows of table ``t``, as text, in one order on both sides."""
    found = connection.execute(f"SELECT t::text FROM (SELECT {columns} FROM t) AS t ORDER BY 1")
    return found.fetchall()


def watermark(warehouse: psycopg.Connection, sync_key: str = "t") -> tuple[str, str] | None:
    """The stored type and text."""
    query = "SELECT cursor_type, cursor_value FROM etl_sync.watermark WHERE sync_key = %s"
    return warehouse.execute(query, [sync_key]).fetchone()


def scalar(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def transaction(conninfo: str, *statements: str) -> Iterator[psycopg.Connection]:
    """A transaction that has run the statements and is still open; it is rolled back unless committed."""
    with psycopg.connect(conninfo) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection
        connection.rollback()


class Interrupted(PostgresSource):
    """A source beside which something happens between the choice of the window and the reading.

    :param statements: run one after another, each committed, before the first row is read
    """

    def __init__(self, world: World, *statements: str) -> None:
        super().__init__(PostgresAccess(world.source_db), world.stream)
        self._conninfo = world.source_db
        self._statements = statements

    def read(self, window: Any, after: Any) -> Generator[Any]:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            for statement in self._statements:
                connection.execute(statement)
        return super().read(window, after)


class Counted(PostgresSource):
    """A source that counts the rows it gives."""

    def __init__(self, world: World) -> None:
        super().__init__(PostgresAccess(world.source_db), world.stream)
        self.rows = 0

    def read(self, window: Any, after: Any) -> Generator[Any]:
        for batch in super().read(window, after):
            self.rows += batch.num_rows
            yield batch
