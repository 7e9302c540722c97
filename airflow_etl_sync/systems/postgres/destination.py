"""A PostgreSQL table as a destination."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import Counts, Dataset, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.systems.base import Landed, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of
from airflow_etl_sync.systems.postgres.copying import copy_in
from airflow_etl_sync.systems.postgres.fitting import fit
from airflow_etl_sync.systems.postgres.merging import Merging
from airflow_etl_sync.systems.postgres.naming import dataset_of
from airflow_etl_sync.systems.postgres.packed import PACKING, bytes_of, columns_of, is_packed
from airflow_etl_sync.systems.postgres.rejects import StagedRows
from airflow_etl_sync.systems.postgres.target import open_target, read_columns, refuse_unfit
from airflow_etl_sync.systems.postgres.types import staging_type

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg.sql import Composed
    from sqlalchemy import Connection, Engine


class PostgresDestination:
    """Merges rows into a PostgreSQL table, see :class:`~airflow_etl_sync.systems.base.Destination`.

    :param access: the database
    :param table: the target
    """

    packing = PACKING

    def __init__(self, access: PostgresAccess, table: TableName) -> None:
        sql.names.identifier(table)  # a name that is too long is refused before anything moves
        self._access = access
        self._table = table
        self._relation = {"relation": sql.names.relation_name(table)}
        self._engine = access.engine()
        self._is_swept = False

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def target(self) -> str:
        return str(self._table)

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        return dataset_of(self._access, self._table)

    def types(self) -> dict[str, str]:
        """The type of each of the table's columns, below any domain and without length or precision; none yet, none."""
        with (
            explaining(DestinationError, f"look at {self.target!r}"),
            closing(self._access.connect()) as connection,
        ):
            return {name: column.base for name, column in read_columns(connection, self._table).items()}

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        """Copy the batches into an unlogged table of the state schema."""
        self._sweep()
        packed = is_packed(schema)
        columns = columns_of(schema) if packed else schema
        staging = sql.staging.create_staging(name, [(field.name, staging_type(field)) for field in columns])
        with explaining(DestinationError, f"stage rows for {self.target!r}"):
            if packed:
                self._stage_packed(name, staging, batches)
            else:
                self._stage_arrow(name, staging, schema, batches)
        return StagedChunk(name, columns)

    def _stage_packed(self, name: str, staging: Composed, batches: Iterable[pa.RecordBatch]) -> None:
        with closing(self._access.connect()) as connection, connection.transaction():
            connection.execute(sql.staging.drop_staging(name))
            connection.execute(staging)
            copy_in(connection, sql.staging.copy_in(name), map(bytes_of, batches))

    def _stage_arrow(self, name: str, staging: Composed, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        import pyarrow as pa

        feed = _Feed(batches)
        with closing(self._access.adbc()) as connection, connection.cursor() as cursor:
            cursor.execute(sql.staging.drop_staging(name).as_string(None))
            cursor.execute(staging.as_string(None))
            reader = pa.RecordBatchReader.from_batches(_plain(schema), feed)
            try:
                cursor.adbc_ingest(name, reader, mode="append", db_schema_name=sql.names.STATE_SCHEMA)
            except Exception:
                feed.raise_own_failure()
                raise
            connection.commit()

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        driver = driver_of(connection)
        with explaining(DestinationError, f"merge rows into {self.target!r}"):
            for setting in sql.sessions.READING_SETTINGS:
                driver.execute(setting)
            key = rules.primary_key or keys.primary_key
            rules = replace(rules, conflict_field=rules.conflict_field or keys.cursor_field)
            target = open_target(driver, self._table, staged, key, rules)
            refuse_unfit(target, staged, key, rules)
            fitted = fit(driver, target, staged, key, rules, may_set_aside=tolerance.errors > 0)
            merging = Merging(StagedRows(driver, staged, key), target, fitted, rules, keys, tolerance.errors)
            upserted, failed = merging.run(rows)
            settled = merging.rows.settled(tolerance.watched)
            for statement in (sql.staging.drop_staging(staged.name), sql.rejects.drop_numbers(staged.name)):
                driver.execute(statement)
        counts = Counts(*upserted, skipped=rows - sum(upserted) - len(failed), errors=len(failed))
        still_failing = {record.key for record in failed}
        return Merged(counts, tuple(failed), fitted.changes, tuple(key for key in settled if key not in still_failing))

    def recall(self, extraction_id: str) -> dict[int, Landed]:  # noqa: ARG002
        """Nothing: what was merged is in the ledger, by the same transaction."""
        return {}

    def _sweep(self) -> None:
        """Drop, once, the staging tables of finished and abandoned runs, which killed tries have left behind."""
        if self._is_swept:
            return
        self._is_swept = True
        with explaining(DestinationError, "drop old staging tables"), closing(self._access.connect()) as connection:
            for (name,) in connection.execute(sql.staging.LEFT_BEHIND).fetchall():
                connection.execute(sql.staging.drop_staging(name))


class _Feed:
    """Batches on their way through the driver, which would turn an error of theirs into one of its own."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self._failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield batch.replace_schema_metadata(None).cast(_plain(batch.schema))
        except BaseException as error:
            self._failure = error
            raise

    def raise_own_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _plain(schema: pa.Schema) -> pa.Schema:
    """A schema without notes, in which the driver could see types of its own."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, field.type) for field in schema])
