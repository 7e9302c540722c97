"""A table of any database that SQLAlchemy speaks as a destination; the state is kept in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, inspect, literal_column, select
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, StateError, explaining
from airflow_etl_sync.systems.base import Landed, Mark, Merged, MergeKeys, StagedChunk, Tolerance, named_elsewhere
from airflow_etl_sync.systems.database import landed
from airflow_etl_sync.systems.database.access import DatabaseAccess
from airflow_etl_sync.systems.database.columns_written import WrittenColumn
from airflow_etl_sync.systems.database.faults import fault_in
from airflow_etl_sync.systems.database.landed import Memory
from airflow_etl_sync.systems.database.landing import Landing, Postgres, Sqlite
from airflow_etl_sync.systems.database.merging import Merging
from airflow_etl_sync.systems.database.naming import dataset_of
from airflow_etl_sync.systems.database.spool import Spool
from airflow_etl_sync.systems.database.target import Fit, fit, make, read_columns, relation
from airflow_etl_sync.systems.database.upserting import Upserter
from airflow_etl_sync.systems.database.values import told

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Engine

    from airflow_etl_sync.core.model import Dataset


class DatabaseDestination:
    """Merges rows into a table, see :class:`~airflow_etl_sync.systems.base.Destination`.

    Staged rows wait on this machine's disk. A merge looks up the rows of their keys, writes what is new or differs, and
    reads it back: a value that comes back other than it was is not loaded.

    :param access: the database
    :param table: the target
    :param state: the engine of the state tables' database
    """

    def __init__(self, access: DatabaseAccess, table: TableName, state: Engine) -> None:
        self._access = access
        self._table = table
        self._engine = state
        self._landing = _landing_of(access)
        self._target = named_elsewhere(table, access.place)
        self._memory = Memory(str(table), shares_locks=self._landing.shares_locks)
        self._staged: dict[str, Spool] = {}

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def target(self) -> str:
        return self._target

    @property
    def dataset(self) -> Dataset | None:
        """The table as lineage names it."""
        return dataset_of(self._access, self._table)

    def declared_types(self) -> dict[str, str]:
        """The type of each of the table's columns as it is declared, without length or precision."""
        with self._explaining(f"look at {self.target!r}"), self._access.connect() as connection:
            columns = read_columns(connection, self._table)
            return {name: type(column.type).__name__.lower() for name, column in columns.items()}

    def types(self) -> dict[str, str]:
        """The columns of the table, each for what its values are: what is written is read back, so none is bent."""
        with self._explaining(f"look at {self.target!r}"), self._access.connect() as connection:
            if not inspect(connection).has_table(self._table.name, schema=self._table.schema):
                return {}
            return dict.fromkeys(read_columns(connection, self._table), "")

    def is_there(self) -> bool:
        """Whether there is a table; a file of SQLite that is not there is not made."""
        is_absent_file = self._access.dialect_name == "sqlite" and not Path(self._access.name).exists()
        return not is_absent_file and bool(self.types())

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        """Write the batches to this machine's disk."""
        self._drop(name)
        self._staged[name] = Spool(schema, batches)
        return StagedChunk(name, schema)

    def merge(
        self,
        connection: Connection,  # noqa: ARG002
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        spool = self._staged.get(staged.name)
        if spool is None or spool.rows != rows:
            raise DestinationError(f"Not all of the {rows} rows for {self.target!r} are staged: a retry stages them.")
        if staged.mark is None:
            raise StateError("A chunk that lands elsewhere needs a mark by which it is remembered.")
        key = rules.primary_key or keys.primary_key
        rules = replace(rules, conflict_field=rules.conflict_field or keys.cursor_field)
        try:
            with self._explaining(f"merge rows into {self.target!r}"):
                fitted = self._prepare(spool, staged.mark, key, rules)
                return self._merge(spool, staged.mark, fitted, key, keys, rules, tolerance)
        finally:
            self._drop(staged.name)

    def recall(self, extraction_id: str) -> dict[int, Landed]:
        with self._explaining(f"ask what has landed in {self.target!r}"), self._access.connect() as connection:
            return self._memory.recall(connection, extraction_id)

    def _prepare(self, spool: Spool, mark: Mark, key: tuple[str, ...], rules: LoadRules) -> Fit:
        """Make what is absent, and take the turn: each in a transaction of its own."""
        with self._access.connect() as connection:
            self._landing.begin(connection)
            connection.commit()
            for memory in landed.metadata.sorted_tables:  # each alone: another load may have made the first of them
                make(
                    connection,
                    lambda memory=memory: memory.create(connection, checkfirst=True),  # type: ignore[misc]
                    lambda memory=memory: inspect(connection).has_table(memory.name),  # type: ignore[misc]
                )
            fitted = fit(connection, self._landing, self._table, spool.schema, key, rules, spool.values)
            connection.rollback()
            for _ in range(2):  # of two that enter a new sync at once, one finds it entered
                try:
                    self._memory.take_turn(connection, mark)
                    connection.commit()
                    break
                except IntegrityError:
                    connection.rollback()
        return fitted

    def _merge(
        self,
        spool: Spool,
        mark: Mark,
        fitted: Fit,
        key: tuple[str, ...],
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        telling = [keys.cursor_field]
        if rules.conflict == "latest_wins" and rules.conflict_field:
            telling.insert(0, rules.conflict_field)
        with self._access.begin(self._landing.isolation, self._landing.begin) as connection:
            self._memory.claim(connection, mark)
            merging = Merging(
                connection=connection,
                spool=spool,
                upserter=Upserter(
                    landing=self._landing,
                    name=self._table,
                    columns=[
                        WrittenColumn.of(spool.schema.field(name), fitted.columns[name], self._landing)
                        for name in fitted.written
                    ],
                    key=key,
                    rules=rules,
                    synced_at=self._clock(connection),
                    is_empty=keys.are_new and self._is_empty(connection, fitted),
                ),
                key=key,
                newest=[name for name in dict.fromkeys(telling) if name in spool.schema.names],
                discarding=fitted.discarding,
                allowed=tolerance.errors,
            )
            done = merging.run()
            failed = merging.failed()
            counts = Counts(*done, skipped=spool.rows - sum(done) - len(failed), errors=len(failed))
            merged = Merged(counts, tuple(failed), fitted.changes, merging.settled(tolerance.watched))
            self._memory.note(connection, mark, merged)
        return merged

    def _clock(self, connection: Connection) -> Any:
        now = told("timestamptz", connection.execute(select(func.current_timestamp())).scalar_one())
        return self._landing.wire(now)

    def _is_empty(self, connection: Connection, fitted: Fit) -> bool:
        table = relation(self._table, fitted.written)
        return connection.execute(select(literal_column("1")).select_from(table).limit(1)).first() is None

    def _explaining(self, doing: str) -> Any:
        return explaining(DestinationError, doing, fault_in)

    def _drop(self, name: str) -> None:
        spool = self._staged.pop(name, None)
        if spool is not None:
            spool.close()


def _landing_of(access: DatabaseAccess) -> Landing:
    from airflow_etl_sync.systems.database.landing_mysql import MySql

    known: dict[str, type[Landing]] = {"mysql": MySql, "mariadb": MySql, "sqlite": Sqlite, "postgresql": Postgres}
    return known.get(access.dialect_name, Landing)()
