"""A table or query of any database that SQLAlchemy speaks, as a source."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import DataError, SourceError, explaining
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow, PlannedRead, Position, Shape
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.access import DatabaseAccess
from airflow_etl_sync.systems.database.columns import DatabaseColumn, written
from airflow_etl_sync.systems.database.described import Described, describe, refuse_placed
from airflow_etl_sync.systems.database.faults import fault_in
from airflow_etl_sync.systems.database.fetching import batches_of
from airflow_etl_sync.systems.database.windows import open_window
from airflow_etl_sync.systems.reading import (
    NULL_CURSORS,
    Part,
    empty,
    marked,
    order_of,
    part_of,
    parts_left,
    parts_of,
    unfit_cursor,
    values_behind,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Connection, Select


class DatabaseSource:
    """Reads a stream of another database row by row, see :class:`~airflow_etl_sync.systems.base.Source`.

    What it cannot see is who else is writing, so it keeps the promise as far as ``lag`` is longer than the transactions
    of the source; the window says so.

    :param access: the database
    :param stream: what to read
    :raises ConfigurationError: where the query places its window itself
    """

    def __init__(self, access: DatabaseAccess, stream: Stream) -> None:
        refuse_placed(stream.sync_key, stream.sql)
        self.access = access
        self._stream = stream

    def describe(self) -> Shape:
        described = self._described
        return Shape(
            columns=tuple((column.name, column.declared) for column in described.columns),
            primary_key=described.primary_key,
            is_key_unique=described.is_key_unique,
        )

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
        described, cursor = self._described, self._cursor
        with self._explaining("open the window of"), self.access.look() as connection:
            if self._stream.on_cursor_null == "raise":
                self._refuse_null_cursors(connection)
            described.dialect.refuse_unordered(connection, self._stream, cursor)
            return open_window(connection, described.dialect, self._stream, cursor, watermark, rules)

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        described = self._described
        with self._explaining("read"), self.access.connect() as connection:
            described.dialect.begin(connection)
            for part in parts_left(self._parts(window), after):
                if part == "all" and after is None:
                    yield marked(empty(described.schema), part)
                statement = self._statement(part, window, after)
                for batch in batches_of(connection, described.dialect, statement, described.columns):
                    yield marked(batch, part)

    def plan(self, window: Window) -> list[PlannedRead]:
        with self._explaining("plan the reading of"), self.access.look() as connection:
            statements = [self._statement(part, window, None) for part in self._parts(window)]
            return [
                PlannedRead(sql.shown(statement, connection), self._described.dialect.estimate(connection, statement))
                for statement in statements
            ]

    def position(self, batch: pa.RecordBatch) -> Position:
        part = part_of(batch)
        if not batch.num_rows:
            return {"part": part, "values": [None]}
        return {"part": part, "values": [written(batch.column(each.name)[-1]) for each in self._order(part)]}

    @contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        with explaining(SourceError, f"{doing} the stream {self._stream.sync_key!r}", fault_in):
            yield

    @cached_property
    def _described(self) -> Described:
        with self._explaining("describe"), self.access.look() as connection:
            return describe(connection, self._stream)

    @property
    def _cursor(self) -> DatabaseColumn:
        cursor = self._described.column(self._stream.cursor_field)
        if cursor.cursor_type is None:
            raise unfit_cursor(cursor.name, cursor.declared)
        return cursor

    def _refuse_null_cursors(self, connection: Connection) -> None:
        if connection.execute(sql.find(self._stream, sql.is_null(self._cursor))).first():
            names = {"sync_key": self._stream.sync_key, "cursor_field": self._stream.cursor_field}
            raise DataError(NULL_CURSORS.format(**names))

    def _parts(self, window: Window) -> list[Part]:
        return parts_of(window, self._stream, is_cursor_never_null=self._described.is_cursor_never_null)

    def _order(self, part: Part) -> list[DatabaseColumn]:
        described, cursor = self._described, self._stream.cursor_field
        names = order_of(part, described.primary_key, cursor, is_key_unique=described.is_key_unique)
        return [described.column(name) for name in names]

    def _statement(self, part: Part, window: Window, after: Position | None) -> Select[Any]:
        order, conditions = self._order(part), self._conditions(part, window)
        texts = values_behind(part, after)
        if texts is not None:
            conditions.append(self._behind(order, texts))
        return sql.rows(self._stream, self._described.columns, conditions, order)

    def _behind(self, order: Sequence[DatabaseColumn], texts: Sequence[str]) -> ColumnElement[bool]:
        dialect = self._described.dialect
        values = [dialect.bound(column.value(text)) for column, text in zip(order, texts, strict=True)]
        return sql.rows_behind(order, values, is_key_unique=self._described.is_key_unique)

    def _conditions(self, part: Part, window: Window) -> list[ColumnElement[bool]]:
        if part == "all" and self._stream.on_cursor_null != "exclude":
            return []
        cursor = self._cursor
        if part == "nulls":
            return [sql.is_null(cursor)]
        if part == "all":
            return [sql.is_not_null(cursor)]
        return sql.is_within(cursor, self._bound(window.low), self._bound(window.below))

    def _bound(self, value: CursorValue | None) -> Any | None:
        return None if value is None else self._described.dialect.bound(self._cursor.value(value.text))
