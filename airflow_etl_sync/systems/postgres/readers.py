"""Two ways to read a query: as Arrow, or as rows that stay packed as PostgreSQL sends them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.copying import copy_out
from airflow_etl_sync.systems.postgres.packed import PackedColumn, pack, rows_field, value_text
from airflow_etl_sync.systems.postgres.snapshots import Asking
from airflow_etl_sync.systems.postgres.types import ENCODING, StreamColumn, normalised, position_text
from airflow_etl_sync.systems.reading import empty

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection, Cursor

_ARROW_BYTES = 4 * 1024 * 1024
_PACKED_BYTES, _PACKED_ROWS = 2 * 1024 * 1024, 8_192
"""Packed rows are there twice while a batch is made of them."""

_USE_COPY = "adbc.postgresql.use_copy"


class Reader(Asking, Protocol):
    """A session that also gives the rows of queries in bulk, in the transaction in which it is asked."""

    def read(self, statement: str, *, begins_stream: bool) -> Generator[pa.RecordBatch]:
        """The rows of a query.

        :param begins_stream: whether an empty batch comes first, which carries the schema
        """


class Rows(Protocol):
    """The form in which rows are read."""

    @property
    def columns(self) -> Sequence[StreamColumn]:
        """The columns of the stream as they are selected."""

    def reader(self, access: PostgresAccess) -> AbstractContextManager[Reader]: ...

    def text(self, batch: pa.RecordBatch, row: int, name: str) -> str | None:
        """A key's or cursor's value as text that PostgreSQL reads back as the same value.

        None stands for NULL, and for dates that Python cannot write.
        """


@dataclass(frozen=True, slots=True)
class ArrowRows:
    """Rows of Arrow's own types, see :func:`~airflow_etl_sync.systems.postgres.types.normalised`."""

    columns: Sequence[StreamColumn]

    @contextmanager
    def reader(self, access: PostgresAccess) -> Iterator[Reader]:
        with closing(access.adbc()) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_ARROW_BYTES)})
            yield _ArrowReader(connection, cursor, self.columns)

    def text(self, batch: pa.RecordBatch, row: int, name: str) -> str | None:
        return position_text(batch.column(name)[row], (batch.schema.field(name).metadata or {}).get(ENCODING))


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows as PostgreSQL packs them, see :mod:`airflow_etl_sync.systems.postgres.packed`."""

    columns: Sequence[PackedColumn]

    @contextmanager
    def reader(self, access: PostgresAccess) -> Iterator[Reader]:
        with closing(access.connect()) as connection:
            connection.autocommit = False
            yield _PackedReader(connection, rows_field(self.columns))

    def text(self, batch: pa.RecordBatch, row: int, name: str) -> str | None:
        place, column = next((place, each) for place, each in enumerate(self.columns) if each.name == name)
        return value_text(batch, row, place, column)


@dataclass(frozen=True, slots=True)
class _ArrowReader:
    connection: Connection
    cursor: Cursor
    columns: Sequence[StreamColumn]

    def ask(self, statement: str, values: Sequence[str] = ()) -> Any:
        self.cursor.adbc_statement.set_options(**{_USE_COPY: "false"})  # which EXPLAIN is not fit for
        self.cursor.execute(statement, list(values) or None)
        rows = self.cursor.fetchall() if self.cursor.description else []
        return rows[0][0] if rows else None

    def rollback(self) -> None:
        self.connection.rollback()

    def read(self, statement: str, *, begins_stream: bool) -> Generator[pa.RecordBatch]:
        self.cursor.adbc_statement.set_options(**{_USE_COPY: "true"})
        self.cursor.execute(statement)
        with closing(_record_batches(self.cursor)) as reader:
            if begins_stream:
                yield normalised(empty(reader.schema), self.columns)
            for batch in reader:
                yield normalised(batch, self.columns)


def _record_batches(cursor: Cursor) -> pa.RecordBatchReader:
    """The rows in a reader whose errors are the driver's own, with the server's code.

    ``fetch_record_batch`` gives one that raises what Arrow makes of them: an ``OSError`` without it.
    """
    from adbc_driver_manager._reader import AdbcRecordBatchReader

    stream = cursor.fetch_arrow()
    return AdbcRecordBatchReader._import_from_c(stream.address)  # noqa: SLF001 - what the cursor itself calls


@dataclass(frozen=True, slots=True)
class _PackedReader:
    connection: psycopg.Connection[Any]
    field: pa.Field

    def ask(self, statement: str, values: Sequence[str] = ()) -> Any:
        from psycopg import RawCursor

        cursor = RawCursor(self.connection).execute(statement.encode(), list(values) or None)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def rollback(self) -> None:
        self.connection.rollback()

    def read(self, statement: str, *, begins_stream: bool) -> Generator[pa.RecordBatch]:
        if begins_stream:
            yield pack([], self.field)
        with closing(copy_out(self.connection, statement, _PACKED_ROWS, _PACKED_BYTES)) as pieces:
            for rows in pieces:
                yield pack(rows, self.field)
