"""A PostgreSQL table as a destination."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import (
    ConfigurationError,
    DataError,
    DestinationError,
    SchemaError,
    explaining,
)
from airflow_etl_sync.systems.base import MergeKeys, StagedChunk
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.types import BASE, DECLARED, ENCODING, ENCODINGS, may_bend, staging_type

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg.sql import Composed
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class _TargetColumn:
    """A column of the table.

    :param type: its type without length or precision
    :param is_generated: computed by the database, so never written
    :param is_always_identity: written only with OVERRIDING SYSTEM VALUE
    :param declared: its type with length and precision
    :param base: the type below any domain, without length and precision
    :param base_declared: the same with them
    """

    name: str
    type: str
    is_generated: bool
    is_always_identity: bool
    declared: str
    base: str
    base_declared: str


class PostgresDestination:
    """Merges rows into a PostgreSQL table, see :class:`~airflow_etl_sync.systems.base.Destination`.

    :param access: the database
    :param table: the target
    """

    def __init__(self, access: PostgresAccess, table: TableName) -> None:
        sql.identifier(table)  # a name that is too long is refused before anything moves
        self._access = access
        self._table = table
        self._relation = {"relation": sql.relation_name(table)}
        self._engine = access.engine()
        self._is_swept = False

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def target(self) -> str:
        return str(self._table)

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        """Copy the batches into an unlogged table of the state schema."""
        import pyarrow as pa

        self._sweep()
        feed = _Feed(batches)
        columns = [(field.name, staging_type(field)) for field in schema]
        with (
            explaining(DestinationError, f"stage rows for {self.target!r}"),
            closing(self._access.adbc()) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql.drop_staging(name).as_string(None))
            cursor.execute(sql.create_staging(name, columns).as_string(None))
            reader = pa.RecordBatchReader.from_batches(_plain(schema), feed)
            try:
                cursor.adbc_ingest(name, reader, mode="append", db_schema_name=sql.STATE_SCHEMA)
            except Exception:
                feed.raise_own_failure()
                raise
            connection.commit()
        return StagedChunk(name, schema)

    def merge(
        self, connection: Connection, staged: StagedChunk, rows: int, keys: MergeKeys, rules: LoadRules
    ) -> Counts:
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        with explaining(DestinationError, f"merge rows into {self.target!r}"):
            for setting in sql.READING_SETTINGS:
                driver.execute(setting)
            key = rules.primary_key or keys.primary_key
            rules = replace(rules, conflict_field=rules.conflict_field or keys.cursor_field)
            self._refuse_bad_rules(staged, key, rules)
            columns = self._target_columns(driver, staged, key, rules)
            kind = self._relation_kind(driver)
            self._refuse_bad_target(driver, staged, key, rules, columns, kind)
            self._refuse_bad_rows(driver, staged, rows, key)
            self._refuse_bent_values(driver, staged, columns)
            return self._merged(driver, staged, rows, key, keys.cursor_field, rules, columns, kind)

    def _sweep(self) -> None:
        """Drop, once, the staging tables of finished and abandoned runs, which killed tries have left behind."""
        if self._is_swept:
            return
        self._is_swept = True
        with explaining(DestinationError, "drop old staging tables"), closing(self._access.connect()) as connection:
            for (name,) in connection.execute(sql.LEFT_BEHIND).fetchall():
                connection.execute(sql.drop_staging(name))

    def _merged(
        self,
        driver: psycopg.Connection[Any],
        staged: StagedChunk,
        rows: int,
        key: tuple[str, ...],
        cursor_field: str,
        rules: LoadRules,
        columns: dict[str, _TargetColumn],
        kind: str,
    ) -> Counts:
        written = [field for field in staged.schema if not columns[field.name].is_generated]
        names = {field.name for field in written}
        newest = [rules.conflict_field, cursor_field] if rules.conflict == "latest_wins" else [cursor_field]
        statement = sql.merge(
            self._table,
            staged.name,
            [(field.name, _expression(field, columns[field.name])) for field in written],
            key,
            [name for name in dict.fromkeys(newest) if name and name in names],
            rules,
            has_identity=any(columns[field.name].is_always_identity for field in written),
            is_partitioned=kind == "p",
        )
        inserted, updated = _one(driver.execute(statement))
        driver.execute(sql.drop_staging(staged.name))
        return Counts(inserted=inserted, updated=updated, skipped=rows - inserted - updated)

    def _target_columns(
        self, driver: psycopg.Connection[Any], staged: StagedChunk, key: tuple[str, ...], rules: LoadRules
    ) -> dict[str, _TargetColumn]:
        """The target's columns; an absent target is created first, by one load at a time."""
        if not _one(driver.execute(sql.TABLE_EXISTS, self._relation))[0]:
            if not rules.create_table:
                raise SchemaError(
                    f"The destination has no table {self.target!r} and create_table is off: create it first."
                )
            driver.execute(sql.LOCK_CREATION, self._relation)
            driver.execute(sql.create_target(self._table, self._created_columns(driver, staged, rules), key))
        found = driver.execute(sql.TARGET_COLUMNS, self._relation).fetchall()
        return {row[0]: _TargetColumn(*row) for row in found}

    def _created_columns(
        self, driver: psycopg.Connection[Any], staged: StagedChunk, rules: LoadRules
    ) -> list[tuple[str, str]]:
        """The source's types, or their nearest built-in ones where this database does not have them."""
        columns = []
        for field in staged.schema:
            declared, base = field.metadata[DECLARED].decode(), field.metadata[BASE].decode()
            known = next((type_ for type_ in (declared, base) if _is_type(driver, type_)), None)
            if known is None:
                raise SchemaError(f"Column {field.name!r} comes with a type that this database does not have.")
            columns.append((field.name, known))
        if rules.synced_at_column:
            columns.append((rules.synced_at_column, "timestamp with time zone"))
        return columns

    def _relation_kind(self, driver: psycopg.Connection[Any]) -> str:
        kind = _one(driver.execute(sql.KIND_OF_RELATION, self._relation))[0]
        return kind.decode() if isinstance(kind, bytes) else str(kind)

    def _refuse_bad_rules(self, staged: StagedChunk, key: tuple[str, ...], rules: LoadRules) -> None:
        names = staged.schema.names
        missing = next((name for name in key if name not in names), None)
        if missing is not None:
            raise ConfigurationError(f"The stream has no column {missing!r} to be primary_key of {self.target!r}.")
        if rules.conflict == "latest_wins" and rules.conflict_field not in names:
            raise ConfigurationError(f"The stream has no column {rules.conflict_field!r} to be conflict_field.")
        if rules.synced_at_column in names:
            raise ConfigurationError(
                f"synced_at_column {rules.synced_at_column!r} is a column of the stream too: rename one of them."
            )

    def _refuse_bad_target(
        self,
        driver: psycopg.Connection[Any],
        staged: StagedChunk,
        key: tuple[str, ...],
        rules: LoadRules,
        columns: dict[str, _TargetColumn],
        kind: str,
    ) -> None:
        if kind not in ("r", "p"):
            raise SchemaError(f"{self.target!r} is no table: rows can be merged into ordinary and partitioned tables.")
        wanted = [*staged.schema.names, *([rules.synced_at_column] if rules.synced_at_column else [])]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise SchemaError(
                f"The table {self.target!r} has no column {', '.join(missing)}: add what is missing, or list the "
                "columns to read in columns."
            )
        fixed = [name for name in staged.schema.names if columns[name].is_always_identity and name not in key]
        if fixed and rules.conflict != "dest_wins":
            raise SchemaError(
                f"Column {', '.join(fixed)} of {self.target!r} is GENERATED ALWAYS AS IDENTITY and no part of the key, "
                "so it cannot be updated: make it GENERATED BY DEFAULT, or leave it out of columns."
            )
        unique = [set(row[0]) for row in driver.execute(sql.UNIQUE_KEYS, self._relation)]
        if set(key) not in unique:
            raise SchemaError(
                f"The table {self.target!r} has no primary key or unique index on exactly ({', '.join(key)}): create "
                "one, so that a row can be found again, or set primary_key to the columns of one that is there."
            )

    def _refuse_bad_rows(
        self, driver: psycopg.Connection[Any], staged: StagedChunk, rows: int, key: tuple[str, ...]
    ) -> None:
        staged_rows, without_key = _one(driver.execute(sql.count_staged(staged.name, key)))
        if staged_rows != rows:
            raise DestinationError(
                f"{staged_rows} of {rows} rows are staged for {self.target!r}: the server lost its unlogged tables in "
                "a crash, a retry stages them again."
            )
        if without_key:
            raise DataError(
                f"{without_key} rows for {self.target!r} have NULL in their key ({', '.join(key)}): mend them at the "
                "source, or leave them out with where."
            )

    def _refuse_bent_values(
        self, driver: psycopg.Connection[Any], staged: StagedChunk, columns: dict[str, _TargetColumn]
    ) -> None:
        """A cast to a narrower type rounds or cuts without a word, so such columns are tried out first."""
        tried = []
        for field in staged.schema:
            column, base = columns[field.name], field.metadata[BASE].decode()
            is_same = column.declared == field.metadata[DECLARED].decode()
            if not column.is_generated and not is_same and may_bend(base, column.base) and _is_type(driver, base):
                tried.append((field.name, _encoding(field), base, column.base_declared))
        if not tried:
            return
        found = _one(driver.execute(sql.find_bent(staged.name, tried)))
        bent = [name for (name, *_), is_bent in zip(tried, found, strict=True) if is_bent]
        if bent:
            raise DataError(
                f"Values of column {', '.join(bent)} do not fit the type that {self.target!r} has for it, and would "
                "be rounded or cut: widen the column, or convert the values at the source."
            )


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


def _expression(field: pa.Field, column: _TargetColumn) -> Composed:
    return sql.read_staged(field.name, _encoding(field), column.type)


def _encoding(field: pa.Field) -> str | None:
    encoding = (field.metadata or {}).get(ENCODING)
    if encoding is None:
        return None
    if encoding not in ENCODINGS:
        raise SchemaError(f"Column {field.name!r} comes in an encoding that this package does not know.")
    return str(encoding.decode().partition(":")[2])


def _is_type(driver: psycopg.Connection[Any], name: str) -> bool:
    """Whether the whole text is the name of a type here; what it says comes from the staged chunk."""
    return bool(_one(driver.execute(sql.TYPE_EXISTS, {"type": name}))[0])


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row or ()
