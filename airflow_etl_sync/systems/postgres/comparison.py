"""A PostgreSQL table's keys beside those of its source: compared by the destination, with its own equality."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.keys import SOFT_DELETED, KeyBlock, ReconcileRules, Settled
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import DataError, DestinationError, EtlSyncError, SchemaError, explaining
from airflow_etl_sync.systems.base import ComparisonNumbers
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.keys import plain_types
from airflow_etl_sync.systems.postgres.settings import pin_settings
from airflow_etl_sync.systems.postgres.types import encoding_of

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg.sql import Composable, Composed
    from sqlalchemy import Connection, Engine

LONGEST_WAIT = "10s"
"""For the lock on the table: behind a writer that waits for it, others wait too."""
LONGEST_IDLENESS = "120s"
"""After which the server itself gives the lock back, should the worker have vanished from the network."""


class PostgresKeyDestination:
    """Compares keys with those of a PostgreSQL table, see :class:`~airflow_etl_sync.systems.base.KeyDestination`.

    :param access: the database
    :param table: the table that the sync loads
    """

    def __init__(self, access: PostgresAccess, table: TableName) -> None:
        self._access = access
        self._table = table
        self._staging = PostgresDestination(access, table)

    @property
    def engine(self) -> Engine:
        return self._staging.engine

    @property
    def target(self) -> str:
        return str(self._table)

    @contextmanager
    def compare(
        self, name: str, batches: Iterable[pa.RecordBatch], rules: ReconcileRules
    ) -> Generator[PostgresComparison]:
        comparison = PostgresComparison(self._table, name, rules)
        with explaining(DestinationError, f"look at {self.target!r}"), closing(self._access.connect()) as connection:
            comparison.inspect(connection)
        feed = _Counted(batches)
        try:
            self._staging.stage(name, feed.schema, feed)
            with (
                explaining(DestinationError, f"compare keys with {self.target!r}"),
                closing(self._access.connect()) as connection,
            ):
                comparison.lay_side_by_side(connection, feed.schema, feed.rows)
            yield comparison
        finally:
            self._drop(name, comparison.suspects)

    def _drop(self, *names: str) -> None:
        """Drop staging tables. A failure hides no error of the work itself: a later run sweeps what is left."""
        with (
            suppress(EtlSyncError),
            explaining(DestinationError, "drop the staged keys"),
            closing(self._access.connect()) as connection,
        ):
            for name in names:
                connection.execute(sql.staging.drop_staging(name))


class PostgresComparison:
    """See :class:`~airflow_etl_sync.systems.base.Comparison`.

    :param table: the target
    :param staging: the staging table of the source's keys
    """

    def __init__(self, table: TableName, staging: str, rules: ReconcileRules) -> None:
        self.suspects = f"{staging}_suspects"
        self.numbers = ComparisonNumbers(0, 0, 0, 0)
        self._table = table
        self._relation = {"relation": sql.names.relation_name(table)}
        self._staging = staging
        self._rules = rules
        self._key: tuple[str, ...] = ()
        self._types: dict[str, str] = {}
        self._source_types: list[str] = []

    def inspect(self, connection: psycopg.Connection[Any]) -> None:
        """Refuse a target that cannot be reconciled, before any key is read."""
        if not _row(connection, sql.streams.TABLE_EXISTS, self._relation)[0]:
            raise SchemaError(f"The destination has no table {self._name}: sync it first.")
        kind = _row(connection, sql.target.KIND_OF_RELATION, self._relation)[0]
        if kind not in ("r", "p", b"r", b"p"):
            raise SchemaError(f"{self._name} is no table: ordinary and partitioned tables can be reconciled.")
        self._types = {row[0]: row[1] for row in connection.execute(sql.target.TARGET_COLUMNS, self._relation)}
        if self._rules.delete == "soft" and not self._has_flag and not self._rules.add_column:
            raise SchemaError(f"{self._name} has no column {SOFT_DELETED} and add_column is off: add it, as boolean.")
        if self._types.get(SOFT_DELETED, "boolean") != "boolean":
            raise SchemaError(f"The column {SOFT_DELETED} of {self._name} is no boolean: the name is reserved.")
        if self._rules.synced_at_column not in (None, *self._types):
            raise SchemaError(f"{self._name} has no column {self._rules.synced_at_column!r} to be synced_at_column.")

    def lay_side_by_side(self, connection: psycopg.Connection[Any], schema: pa.Schema, rows: int) -> None:
        """Find the suspects: rows of the target whose flag does not fit the staged keys."""
        self._key = tuple(schema.names)
        self._refuse_bad_key(connection)
        self._source_types = plain_types(connection, [types_of(field).base for field in schema])
        connection.execute(sql.reconciling.analyze_staging(self._staging))
        scope, live_only = self._rules.where, self._rules.delete == "soft" and self._has_flag
        with connection.transaction():
            connection.execute(sql.sessions.REPEATABLE_READ)
            staged = _row(connection, sql.staging.count_staged(self._staging, []))[0]
            if staged != rows:
                raise DestinationError(
                    f"{staged} of {rows} keys are staged for {self._name}: the server lost its unlogged tables in a "
                    "crash, a retry stages them again."
                )
            compared = _row(
                connection, sql.reconciling.count_compared(self._table, self._key, scope, live_only=live_only)
            )[0]
            statement = sql.reconciling.create_suspects(
                *(self._table, self._staging, self.suspects, self._staged_key(schema), scope),
                live_only=live_only,
                has_flag=self._has_flag,
            )
            connection.execute(sql.staging.drop_staging(self.suspects))
            connection.execute(statement)
            connection.execute(sql.reconciling.index_suspects(self.suspects))
            absent, returned = _row(connection, sql.reconciling.count_suspects(self.suspects))
        connection.execute(sql.reconciling.analyze_staging(self.suspects))
        self.numbers = ComparisonNumbers(rows, compared, absent, returned)

    def add_flag(self, connection: Connection) -> None:
        driver = driver_of(connection)
        with explaining(DestinationError, f"add the column {SOFT_DELETED} to {self._name}"):
            if not self._has_flag:
                driver.execute(sql.sessions.LIMIT_WAITS, _limits())
                driver.execute(sql.reconciling.add_flag(self._table))
                self._types[SOFT_DELETED] = "boolean"

    def settle(
        self, connection: Connection, first: int, last: int, find_present: Callable[[KeyBlock], set[int]]
    ) -> Settled:
        from psycopg import RawCursor
        from psycopg.errors import ForeignKeyViolation

        driver = driver_of(connection)
        with explaining(DestinationError, f"reconcile {self._name}"), RawCursor(driver) as cursor:
            places, were_present, keys = self._block(driver, first, last)
            self._lock_writers_out(driver)
            present = find_present(keys)
            gone = [place for n, place in enumerate(places) if n not in present and not were_present[n]]
            back = [place for n, place in enumerate(places) if n in present and were_present[n]]
            try:
                deleted = cursor.execute(self._removal, [gone]).rowcount if gone else 0
                revived = cursor.execute(self._flagging(flag=False), [back]).rowcount if back else 0
                driver.execute(sql.merging.CHECK_CONSTRAINTS)
            except ForeignKeyViolation as violation:
                raise DataError(
                    f"Rows of {self._name} that are gone from the source are still referenced by "
                    f"{violation.diag.table_name!r} (constraint {violation.diag.constraint_name!r}), so none of their "
                    "block was deleted: reconcile that table first, give its foreign key ON DELETE CASCADE, or use "
                    "delete='soft'.",
                    sqlstate=violation.sqlstate,
                ) from None
        return Settled(deleted, revived)

    def _lock_writers_out(self, driver: psycopg.Connection[Any]) -> None:
        from psycopg.errors import LockNotAvailable

        driver.execute(sql.sessions.LIMIT_WAITS, _limits())
        try:
            driver.execute(sql.reconciling.lock_writers_out(self._table))
        except LockNotAvailable as busy:
            raise DestinationError(
                f"{self._name} was written to by others for longer than {LONGEST_WAIT}, so it could not be locked: "
                "a retry goes on, best when no long load runs.",
                sqlstate=busy.sqlstate,
            ) from None

    @property
    def _name(self) -> str:
        return repr(str(self._table))

    @property
    def _has_flag(self) -> bool:
        return SOFT_DELETED in self._types

    @property
    def _removal(self) -> Composed:
        if self._rules.delete == "soft":
            return self._flagging(flag=True)
        return sql.reconciling.delete_suspects(self._table, self.suspects, self._key, self._rules.where)

    def _flagging(self, *, flag: bool) -> Composed:
        terms = (self._table, self.suspects, self._key, self._rules.where, self._rules.synced_at_column)
        return sql.reconciling.flag_suspects(*terms, flag=flag)

    def _staged_key(self, schema: pa.Schema) -> list[tuple[str, Composable]]:
        def value(field: pa.Field) -> Composable:
            return sql.staging.read_staged(field.name, encoding_of(field), self._types[field.name])

        return [(field.name, value(field)) for field in schema]

    def _block(self, driver: psycopg.Connection[Any], first: int, last: int) -> tuple[list[int], list[bool], KeyBlock]:
        pin_settings(driver)
        statement = sql.reconciling.read_suspects(self.suspects, self._source_types)
        rows = driver.execute(statement, {"first": first, "last": last}).fetchall()
        if len(rows) != last - first + 1:
            raise DestinationError(
                f"Keys to look at in {self._name} are gone: the server lost its unlogged tables in a crash, a retry "
                "compares again."
            )
        places, were_present, *columns = zip(*rows, strict=True)
        return list(places), list(were_present), KeyBlock(tuple(columns))

    def _refuse_bad_key(self, connection: psycopg.Connection[Any]) -> None:
        missing = [name for name in self._key if name not in self._types]
        if missing:
            raise SchemaError(f"The table {self._name} has no column {', '.join(missing)} of the key.")
        unique = [set(row[0]) for row in connection.execute(sql.target.UNIQUE_KEYS, self._relation)]
        if set(self._key) not in unique:
            raise SchemaError(
                f"The table {self._name} has no primary key or unique index on exactly ({', '.join(self._key)}): set "
                "primary_key to the columns of one that is there."
            )


class _Counted:
    """Batches, with their schema known before the first is taken, and their rows afterwards."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        rest = iter(batches)
        first = next(rest)
        self.schema: pa.Schema = first.schema
        self.rows = 0
        self._batches = chain([first], rest)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _limits() -> dict[str, str]:
    return {"lock": LONGEST_WAIT, "idle": LONGEST_IDLENESS}


def _row(connection: psycopg.Connection[Any], query: Any, values: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    return row or (None,)
