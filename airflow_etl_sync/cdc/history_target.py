"""The table that a history is appended to, and the first copy's way into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.cdc import history_sql
from airflow_etl_sync.core.changes import Lsn, lsn_text
from airflow_etl_sync.core.columns import noted
from airflow_etl_sync.core.history import HISTORY_COLUMNS, HISTORY_KEY, SEQUENCE
from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, SchemaError, explaining
from airflow_etl_sync.systems.base import Landed, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.sql.staging import read_staged
from airflow_etl_sync.systems.postgres.target import TargetColumn, read_columns
from airflow_etl_sync.systems.postgres.types import encoding_of

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from sqlalchemy import Connection, Engine


class HistoryTarget:
    """A table to which rows are appended, each named by its place in the log.

    :param access: the database
    :param table: the target
    :param key: the columns that name a row of the source
    """

    def __init__(self, access: PostgresAccess, table: TableName, key: tuple[str, ...]) -> None:
        self.destination = PostgresDestination(access, table)
        self.table = table
        self.key = key

    def columns(self, driver: psycopg.Connection[Any]) -> dict[str, TargetColumn]:
        """Its columns; none where it is not there yet.

        :raises SchemaError: where it is no history
        """
        columns = read_columns(driver, self.table)
        unfit = [
            f"{name} {types.declared}"
            for name, types in HISTORY_COLUMNS.items()
            if name not in columns or columns[name].declared != types.declared
        ]
        if columns and unfit:
            raise SchemaError(
                f"The table {str(self.table)!r} is no history, as it lacks {', '.join(unfit)}: let the changes go into "
                "a table of their own (destination_tables), which is created, or add what it lacks."
            )
        return columns

    def newest(self, driver: psycopg.Connection[Any]) -> Lsn:
        """The last position in it; 0 where it has no rows. It must be there."""
        row: Any = driver.execute(history_sql.read_newest(self.table)).fetchone()
        return row[0] or 0

    def append(
        self, connection: Connection, staged: StagedChunk, rows: int, rules: LoadRules, tolerance: Tolerance
    ) -> Merged:
        """Append staged rows in the caller's transaction; those that are there already are skipped."""
        driver = driver_of(connection)
        is_there = bool(self.columns(driver))
        keys = MergeKeys(HISTORY_KEY, "", are_new=True)
        merged = self.destination.merge(connection, staged, rows, keys, rules, tolerance)
        if not is_there:
            driver.execute(history_sql.index_keys(self.table, self.key))
        return merged


class CopyPlace(NamedTuple):
    """Where a first copy stands among the changes.

    :param at: behind every change that the copy is sure to have seen, before every other
    :param read_at: when that was, by the source's clock
    """

    at: Lsn
    read_at: str


class HistoryCopy:
    """Appends the rows of a first copy, see :class:`~airflow_etl_sync.systems.base.Destination`.

    They all have one position, so that a copy that begins anew knows the keys that are there already.
    """

    def __init__(self, target: HistoryTarget, place: CopyPlace) -> None:
        self._target = target
        self._place = place
        self._last: int | None = None
        self._has_begun = False

    @property
    def engine(self) -> Engine:
        return self._target.destination.engine

    @property
    def target(self) -> str:
        return self._target.destination.target

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        refuse_reserved(self.target, schema.names)
        if self._last is None:
            self._last = self._read_last()
            self._has_begun = self._last > 0
        return self._target.destination.stage(name, _with_place(schema), self._placed(batches))

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,  # noqa: ARG002 - rows of a history are named by their place
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        driver = driver_of(connection)
        self._refuse_another(driver, rows)
        taken = self._take_out_copied(driver, staged) if self._has_begun else 0
        merged = self._target.append(connection, staged, rows - taken, rules, tolerance)
        return replace(merged, counts=merged.counts + Counts(skipped=taken))

    def recall(self, extraction_id: str) -> dict[int, Landed]:  # noqa: ARG002
        """Nothing: what was merged is in the ledger, by the same transaction."""
        return {}

    def _placed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            first = (self._last or 0) + 1
            self._last = first + batch.num_rows - 1
            constants = ["snapshot", lsn_text(self._place.at), self._place.read_at]
            op, lsn, read_at = (pa.repeat(pa.scalar(value), batch.num_rows) for value in constants)
            numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
            columns = [*batch.columns, op, lsn, numbers, read_at, pa.nulls(batch.num_rows, pa.string())]
            yield pa.RecordBatch.from_arrays(columns, schema=_with_place(batch.schema))

    def _read_last(self) -> int:
        with explaining(DestinationError, "look at the copy"), self.engine.begin() as connection:
            return self._last_of_copy(driver_of(connection))

    def _last_of_copy(self, driver: psycopg.Connection[Any]) -> int:
        if not self._target.columns(driver):
            return 0
        row: Any = driver.execute(history_sql.last_of_copy(self._target.table, self._place.at)).fetchone()
        return row[0] or 0

    def _refuse_another(self, driver: psycopg.Connection[Any], rows: int) -> None:
        """The numbers were chosen before the transaction began: nobody else may have used them meanwhile."""
        if self._last_of_copy(driver) > (self._last or 0) - rows:
            raise DestinationError(
                f"Another run copies rows into the history {self.target!r}: run one at a time (max_active_runs=1)."
            )

    def _take_out_copied(self, driver: psycopg.Connection[Any], staged: StagedChunk) -> int:
        columns = self._target.columns(driver)
        fields = {field.name: field for field in staged.schema}
        key = [(name, read_staged(name, encoding_of(fields[name]), columns[name].type)) for name in self._target.key]
        return driver.execute(
            history_sql.take_out_copied(self._target.table, staged.name, self._place.at, key)
        ).rowcount


def refuse_reserved(target: str, names: Iterable[str]) -> None:
    """Refuse columns of a source whose names a history needs.

    :raises SchemaError: naming them
    """
    reserved = [name for name in names if name in HISTORY_COLUMNS]
    if reserved:
        raise SchemaError(
            f"Column {', '.join(reserved)} of the source has a name that the history {target!r} needs: rename it there."
        )


def _with_place(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    fields = [
        noted(name, pa.int64() if name == SEQUENCE else pa.string(), HISTORY_COLUMNS[name]) for name in HISTORY_COLUMNS
    ]
    return pa.schema([*schema, *fields], metadata=schema.metadata)
