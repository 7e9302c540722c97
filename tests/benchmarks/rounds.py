"""Rounds in which all contestants go through all phases, one after another on the same rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import psycopg

from airflow_etl_sync.demo.postgres import FOLDERS, EmbeddedPostgres, _package
from tests.benchmarks import measurements
from tests.benchmarks.contestants import CHAIN, ONE_TASK, Contestant
from tests.benchmarks.measuring import Measured, run_measured

Phase = Literal["full", "delta", "nothing"]
PHASES: tuple[Phase, ...] = get_args(Phase)
VERSION = 18
PSQL = _package() / FOLDERS[VERSION] / "bin" / "psql"
SERVER_SETTINGS = {
    "autovacuum": "off",  # tables are vacuumed between the measurements, not during them
    "checkpoint_timeout": "1h",  # as are checkpoints taken
    "max_wal_size": "16GB",
}
CHUNK_ROWS = {ONE_TASK: 50_000, CHAIN: 100_000, "one_task_airflow": 50_000, "chain_airflow": 100_000}
"""The package's own defaults."""

CLEARLY_LATER_SECONDS = 2.5
"""Between a change and the next run, so that the change lies clearly before the next watermark."""


class UnequalError(AssertionError):
    """A contestant's table is not the source's."""


@dataclass(frozen=True, slots=True)
class Result:
    """:param rows: how many rows the phase moves"""

    round: int
    phase: Phase
    contestant: str
    rows: int
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is run.

    :param rows: of the table
    :param changes: in the delta, half of them new rows
    :param folder: where contestants keep their files
    """

    server: EmbeddedPostgres
    contestants: Sequence[Contestant]
    rows: int
    changes: int
    folder: Path
    chunk_rows: Mapping[str, int] = field(default_factory=lambda: CHUNK_ROWS)
    phases: Sequence[Phase] = PHASES
    tell: Callable[[str], None] = print

    def of_size(self, rows: int) -> Course:
        """The same with a table of another size."""
        return replace(self, rows=rows)

    def run(self, rounds: int) -> Iterator[Result]:
        """Run the rounds; each begins with another contestant.

        :raises UnequalError: where a table is not what it should be
        """
        with self._database("bench_template") as template:
            measurements.create(template, self.rows)
            for number in range(rounds):
                with self._database("bench_source", template="bench_template") as source:
                    yield from self._round(number, source)

    def _round(self, number: int, source: str) -> Iterator[Result]:
        first = number % len(self.contestants)
        order = [*self.contestants[first:], *self.contestants[:first]]
        with ExitStack() as stack:
            targets = {contestant: stack.enter_context(self._target(contestant.name)) for contestant in order}
            for phase in self.phases:
                cursor = measurements.largest_cursor(source)
                if phase == "delta":
                    measurements.change(source, self.rows, self.changes)
                    time.sleep(CLEARLY_LATER_SECONDS)
                expected = measurements.fingerprint(source)
                for contestant, target in targets.items():
                    yield self._measure(number, phase, contestant, source, target, cursor)
                    _refuse_unequal(expected, target, contestant, phase)

    @contextmanager
    def _target(self, name: str) -> Iterator[str]:
        """A database and a folder for a contestant; both are removed in the end."""
        with self._database(f"bench_{name}") as target:
            (self.folder / name).mkdir()
            with psycopg.connect(target, autocommit=True) as connection:
                connection.execute(measurements.MOOD)
            yield target
            shutil.rmtree(self.folder / name)

    @contextmanager
    def _database(self, name: str, *, template: str = "template1") -> Iterator[str]:
        databases = self.server.databases
        uri = databases.create_database(name, template=template)
        try:
            yield uri
        finally:
            databases.drop_database(name)

    def _measure(
        self, number: int, phase: Phase, contestant: Contestant, source: str, target: str, cursor: str | None
    ) -> Result:
        with psycopg.connect(self.server.databases.admin, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        orders = {
            "contestant": contestant.name,
            "phase": phase,
            "source": source,
            "target": target,
            "cursor": cursor,
            "folder": str(self.folder / contestant.name),
            "chunk_rows": self.chunk_rows.get(contestant.name),
            "psql": str(PSQL),
        }
        measured = run_measured(
            contestant.command,
            orders,
            folder=self.folder / contestant.name,
            server_pid=self.server.pid or 0,
            environment=contestant.environment_for(source, target),
        )
        self.tell(
            f"round {number + 1}, {phase}, {contestant.name}: {measured.seconds:.2f} s, "
            f"{measured.largest_bytes / 1e6:.0f} MB"
        )
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) measurement")
        rows = {"full": self.rows, "delta": self.changes, "nothing": 0}[phase]
        return Result(number, phase, contestant.name, rows, measured)


def _refuse_unequal(expected: str, target: str, contestant: Contestant, phase: Phase) -> None:
    found = measurements.fingerprint(target)
    if found != expected:
        raise UnequalError(f"after {phase}, {contestant.name} has {found} where the source has {expected}")
