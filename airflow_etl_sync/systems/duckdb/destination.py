"""A table in a file of DuckDB as a destination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core import dataset_names
from airflow_etl_sync.core.model import Dataset, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, SchemaError, explaining
from airflow_etl_sync.state.turnstile import wait_for
from airflow_etl_sync.systems.base import Landed, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.columnar.destination import ColumnarDestination
from airflow_etl_sync.systems.columnar.memory import Memory
from airflow_etl_sync.systems.columnar.rows import Ready, make_ready, refuse_lacking
from airflow_etl_sync.systems.columnar.types import type_name
from airflow_etl_sync.systems.duckdb import sql
from airflow_etl_sync.systems.duckdb.faults import duckdb_fault_of, why_busy
from airflow_etl_sync.systems.duckdb.types import arrow_type_of, declared_type, wider
from airflow_etl_sync.systems.patience import Patience

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from sqlalchemy import Connection, Engine

BUSY_SECONDS = 30.0
"""So long another process that has the file open is waited for."""


class DuckDbDestination(ColumnarDestination):
    """Merges rows into a table of DuckDB, see :class:`~airflow_etl_sync.systems.base.Destination`.

    The file is open only while a chunk is merged, in one transaction.

    :param path: the file, made where it is not there
    :param table: the target
    :param state: where the state tables live
    """

    def __init__(self, path: Path, table: TableName, state: Engine) -> None:
        super().__init__(table, f"duckdb:///{path}", state)
        self._path = path

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        return dataset_names.in_duckdb(str(self._path), self._table)

    def types(self) -> dict[str, str]:
        """The type of each of the table's columns, as PostgreSQL calls the like; no table yet, none."""
        if not self._path.exists():
            return {}
        with explaining(DestinationError, f"look at {self._name!r}", duckdb_fault_of), self._open() as file:
            return {name: type_name(arrow_type_of(type_)) for name, (type_, _) in self._columns(file).items()}

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        chunk, mark = self._staged.pop(staged.name), staged.mark
        wait_for(connection, str(self._path))
        with explaining(DestinationError, f"merge rows into {self._name!r}", duckdb_fault_of), self._open() as file:
            file.begin()
            if mark is not None:
                file.execute(sql.CREATE_MEMORY)
                self._memory(file).refuse_landed(mark)
            columns = self._columns(file)
            known = {name: arrow_type_of(type_) for name, (type_, _) in columns.items()}
            required = [name for name, (_, takes_null) in columns.items() if not takes_null]
            ready = make_ready(self._name, known, required, chunk, rows, keys, rules, tolerance, wider)
            source = ready.with_time()
            refuse_lacking(self._name, known, required, source, rules)
            self._shape(file, ready, source.schema, is_new=not columns)
            merged = ready.merged(*self._write(file, ready, source))
            if mark is not None:
                self._memory(file).note(mark, merged)
            file.commit()
        return merged

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What the file remembers of a run."""
        if not self._path.exists():
            return {}
        with explaining(DestinationError, f"look at {self._name!r}", duckdb_fault_of), self._open() as file:
            has_memory = file.execute(sql.HAS_MEMORY).fetchone() != (0,)
            return self._memory(file).landed(extraction_id) if has_memory else {}

    def _memory(self, file: DuckDBPyConnection) -> Memory:
        return Memory(file, sql.MEMORY, self._name, self._name)

    @contextmanager
    def _open(self) -> Iterator[DuckDBPyConnection]:
        import duckdb

        config: dict[str, Any] = {"autoinstall_known_extensions": "false"}
        patience = Patience("DuckDB", why_busy, BUSY_SECONDS, 0.5, 5.0)
        with patience.connect(lambda: duckdb.connect(str(self._path), config=config)) as file:
            yield file

    def _columns(self, file: DuckDBPyConnection) -> dict[str, tuple[str, bool]]:
        """By name the declared type of each column, and whether it takes NULL."""
        found = file.execute(sql.TABLE_COLUMNS, [self._table.schema or "main", self._table.name]).fetchall()
        return {name: (type_, takes_null) for name, type_, takes_null in found}

    def _shape(self, file: DuckDBPyConnection, ready: Ready, schema: pa.Schema, *, is_new: bool) -> None:
        """Make the table, or the columns that the contract adds or widens, in the merge's transaction."""
        if is_new:
            if not ready.rules.create_table:
                raise SchemaError(
                    f"The destination has no table {self._name!r} and create_table is off: create it first."
                )
            file.execute(sql.create_schema(self._table))
            types = {field.name: declared_type(field.type) for field in schema}
            file.execute(sql.create_table(self._table, types))
            return
        for name in ready.fitted.added:
            file.execute(sql.add_column(self._table, name, declared_type(schema.field(name).type)))
        for name in ready.fitted.widened:
            file.execute(sql.widen_column(self._table, name, declared_type(schema.field(name).type)))

    def _write(self, file: DuckDBPyConnection, ready: Ready, source: pa.Table) -> tuple[int, int]:
        """Update and insert; how many rows were inserted, and how many updated."""
        types = {name: type_ for name, (type_, _) in self._columns(file).items()}
        file.register(sql.SOURCE, source)
        update = sql.update(self._table, source.schema, types, ready.key, ready.rules)
        updated = _count(file, update) if update else 0
        return _count(file, sql.insert(self._table, source.schema, types, ready.key)), updated


def _count(file: DuckDBPyConnection, statement: str) -> int:
    row = file.execute(statement).fetchone()
    return int(row[0]) if row else 0
