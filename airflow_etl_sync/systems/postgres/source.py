"""A PostgreSQL table or query as a source."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import CursorType, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError, DataError, SourceError, explaining
from airflow_etl_sync.faults import fault_of
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow, PlannedRead, Position, Shape
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.packed import PACKING, packed_column
from airflow_etl_sync.systems.postgres.placement import is_placed
from airflow_etl_sync.systems.postgres.planning import planned
from airflow_etl_sync.systems.postgres.readers import ArrowRows, PackedRows, Rows
from airflow_etl_sync.systems.postgres.snapshots import open_snapshot
from airflow_etl_sync.systems.postgres.splitting import find_bounds
from airflow_etl_sync.systems.postgres.transactions import open_xid_window, refuse_older_state, refuse_without_xmin
from airflow_etl_sync.systems.postgres.types import CURSOR_TYPES, StreamColumn
from airflow_etl_sync.systems.postgres.windows import open_window
from airflow_etl_sync.systems.reading import (
    NULL_CURSORS,
    Part,
    marked,
    order_of,
    part_of,
    parts_left,
    parts_of,
    refuse_missing_columns,
    refuse_missing_key,
    refuse_missing_table,
    unfit_cursor,
    values_behind,
)

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """The stream, its columns resolved against the database.

    :param asked: the query that gives the types of its columns
    :param oids: what it gave
    """

    columns: tuple[StreamColumn, ...]
    primary_key: tuple[str, ...]
    is_key_unique: bool
    is_cursor_never_null: bool
    asked: str
    oids: str

    def column(self, name: str) -> StreamColumn:
        return next(column for column in self.columns if column.name == name)


class PostgresSource:
    """Reads a stream of a PostgreSQL database in bulk, see :class:`~airflow_etl_sync.systems.base.Source`.

    :param access: the database
    :param stream: what to read
    """

    packing = PACKING

    def __init__(self, access: PostgresAccess, stream: Stream) -> None:
        self.access = access
        self._stream = stream
        self._is_packed = False

    def describe(self) -> Shape:
        described = self._described
        return Shape(
            columns=tuple((column.name, column.type) for column in described.columns),
            primary_key=described.primary_key,
            is_key_unique=described.is_key_unique,
        )

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
        cursor_type = self._cursor_type
        with (
            explaining(SourceError, f"open the window of {self._stream.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            if self._is_by_xmin:
                return open_xid_window(connection, self._stream, watermark, rules)
            if self._stream.on_cursor_null == "raise":
                self._refuse_null_cursors(connection)
            cursor = self._described.column(self._stream.cursor_field)
            if self._is_placed:
                _refuse_unfit_places(connection, self._stream, cursor)
            return open_window(connection, self._stream, cursor, cursor_type, watermark, rules)

    def pack(self) -> None:
        self._is_packed = True

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        with (
            explaining(SourceError, f"read the stream {self._stream.sync_key!r}"),
            self._rows.reader(self.access) as reader,
        ):
            parts = {part: self._statement(part, window, after) for part in parts_left(self._parts(window), after)}
            settings, described = _settings(window, after), self._described
            asked = (described.asked, described.oids)
            open_snapshot(reader, settings, list(parts.values()), asked, self._is_as_described)
            if self._is_by_xmin:
                refuse_older_state(reader, self._stream, window)
            for part, statement in parts.items():
                begins_stream = part == "all" and after is None
                with closing(reader.read(statement, begins_stream=begins_stream)) as batches:
                    for batch in batches:
                        if part == "window" and self._is_placed:
                            self._refuse_below(window, batch)
                        yield marked(batch, part)

    def plan(self, window: Window) -> list[PlannedRead]:
        statements = [self._statement(part, window, None) for part in self._parts(window)]
        with (
            explaining(SourceError, f"plan the reading of {self._stream.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            return planned(connection, _settings(window, None), statements)

    def split(self, window: Window, parts: int) -> list[str]:
        if self._is_by_xmin:
            raise ConfigurationError(
                f"{self._stream.sync_key!r} goes by xmin, which cannot be split: it finds rows only by reading all."
            )
        cursor = self._described.column(self._stream.cursor_field)
        with (
            explaining(SourceError, f"split the stream {self._stream.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            return find_bounds(connection, _settings(window, None), self._stream, cursor, window, parts)

    def position(self, batch: pa.RecordBatch) -> Position:
        part = part_of(batch)
        if not batch.num_rows:
            return {"part": part, "values": [None]}
        return {"part": part, "values": [self._rows.text(batch, -1, column.name) for column in self._order(part)]}

    @cached_property
    def _rows(self) -> Rows:
        described = self._described
        if not self._is_packed:
            return ArrowRows(described.columns)
        told = {self._stream.cursor_field, *described.primary_key}
        return PackedRows([packed_column(column, is_told=column.name in told) for column in described.columns])

    @cached_property
    def _described(self) -> _Described:
        return self._look_at(self._stream)

    def _is_as_described(self) -> bool:
        """Whether what is read of the stream still is what it was; columns that were added are not read."""
        names = tuple(column.name for column in self._described.columns)
        return self._look_at(replace(self._stream, columns=names)) == self._described

    def _look_at(self, stream: Stream) -> _Described:
        with (
            explaining(SourceError, f"describe the stream {stream.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            return _describe(connection, stream)

    @property
    def _is_by_xmin(self) -> bool:
        return self._stream.cursor_field == sql.names.XMIN

    @cached_property
    def _is_placed(self) -> bool:
        return is_placed(self._stream.sql or "")

    @property
    def _cursor_type(self) -> CursorType:
        if self._is_by_xmin:
            return "xid"
        cursor = self._described.column(self._stream.cursor_field)
        if cursor.base_type not in CURSOR_TYPES:
            raise unfit_cursor(cursor.name, cursor.type)
        return CURSOR_TYPES[cursor.base_type]

    def _refuse_null_cursors(self, connection: psycopg.Connection[Any]) -> None:
        if _scalar(connection, sql.streams.find_null_cursor(self._stream)):
            names = {"sync_key": self._stream.sync_key, "cursor_field": self._stream.cursor_field}
            raise DataError(NULL_CURSORS.format(**names))

    def _parts(self, window: Window) -> list[Part]:
        """The statements that a window is read by, in order, all in one snapshot."""
        if self._is_by_xmin and not window.is_unbounded:
            return ["transactions"]
        is_never_null = self._is_by_xmin or self._described.is_cursor_never_null
        return parts_of(window, self._stream, is_cursor_never_null=is_never_null)

    def _order(self, part: Part) -> list[StreamColumn]:
        described, cursor = self._described, self._stream.cursor_field
        names = order_of(part, described.primary_key, cursor, is_key_unique=described.is_key_unique)
        return [described.column(name) for name in names]

    def _statement(self, part: Part, window: Window, after: Position | None) -> str:
        described, key, columns = self._described, self._described.primary_key, self._rows.columns
        behind = None
        if values_behind(part, after) is not None:
            behind = sql.reading.rows_after(self._order(part), is_key_unique=described.is_key_unique)
        if part == "all":
            order = [column.name for column in self._order(part)]
            return sql.reading.read_by_key(self._stream, columns, order, behind)
        if part == "transactions":
            return sql.reading.read_transactions(self._stream, columns, key, behind)
        if part == "nulls":
            return sql.reading.read_null_cursors(self._stream, columns, key, behind)
        bounds = sql.reading.bounds_of(window)
        cursor_type = described.column(self._stream.cursor_field).plain_type
        return sql.reading.read_window(self._stream, columns, key, cursor_type, bounds, behind)

    def _refuse_below(self, window: Window, batch: pa.RecordBatch) -> None:
        """Of numbers, the watermark speaks of the cursor's own alone, while a time means the same in every column."""
        if window.low is None or window.low.type not in ("integer", "numeric") or not batch.num_rows:
            return
        key, cursor = self._stream.sync_key, self._stream.cursor_field
        smallest = Decimal(self._rows.text(batch, 0, cursor) or "NaN")
        if not smallest.is_nan() and smallest < Decimal(window.low.text):
            raise ConfigurationError(
                f"A :window of {key!r} let rows pass whose {cursor!r} lies below the window: place it on what the "
                f"query gives as {cursor!r}, for the watermark is a number of that only."
            )


def _settings(window: Window, after: Position | None) -> dict[str, str]:
    values = {sql.sessions.setting(name): getattr(window, name).text for name in sql.reading.bounds_of(window)}
    for place, value in enumerate(after["values"] if after else []):
        values[sql.sessions.setting(f"after_{place}")] = value or ""
    return {**sql.sessions.PINNED_SETTINGS, **values}


def _describe(connection: psycopg.Connection[Any], stream: Stream) -> _Described:
    relation = {"relation": sql.names.relation_name(stream.table)} if stream.table else None
    refuse_missing_table(stream, is_there=bool(relation and _scalar(connection, sql.streams.TABLE_EXISTS, relation)))
    refuse_without_xmin(connection, stream)
    own_key = tuple(row[0] for row in connection.execute(sql.streams.KEY_COLUMNS, relation)) if relation else ()
    key = stream.primary_key or own_key
    names, modifiers = _names(connection, replace(stream, primary_key=key))
    asked = sql.streams.types_of_stream(stream, names)
    oids = _scalar(connection, asked)
    types = connection.execute(sql.streams.TYPES_OF_COLUMNS, {"oids": oids, "modifiers": modifiers}).fetchall()
    refuse_missing_key(stream, key)
    is_key_unique = bool(own_key) and set(key) == set(own_key)
    if stream.cursor_field == sql.names.XMIN and not is_key_unique:
        raise ConfigurationError(
            f"cursor_field xmin tells records of {stream.sync_key!r} by the table's own key: leave primary_key out."
        )
    return _Described(
        columns=tuple(StreamColumn(name, *found) for name, found in zip(names, types, strict=True)),
        primary_key=key,
        is_key_unique=is_key_unique,
        is_cursor_never_null=bool(
            relation and _scalar(connection, sql.streams.IS_NOT_NULL, {**relation, "column": stream.cursor_field})
        ),
        asked=asked.as_string(None),
        oids=oids,
    )


def _refuse_unfit_places(connection: psycopg.Connection[Any], stream: Stream, cursor: StreamColumn) -> None:
    from psycopg.errors import UndefinedFunction

    try:
        connection.execute(sql.streams.check_places(stream, cursor))
    except UndefinedFunction as unfit:
        said = fault_of(unfit)
        raise ConfigurationError(
            f"A :window of {stream.sync_key!r} stands on no value of the type of its cursor {cursor.name!r}, "
            f"{cursor.type}: place it on one of that type, or change the cursor's ({said.text if said else ''})."
        ) from None


def _names(connection: psycopg.Connection[Any], stream: Stream) -> tuple[list[str], list[int]]:
    """The names of the stream's columns, and their lengths or precisions as PostgreSQL keeps them."""
    result = connection.execute(sql.streams.describe_stream(stream))
    described = result.description or []
    native = result.pgresult
    modifiers = [native.fmod(place) for place in range(len(described))] if native else []
    names = [column.name for column in described]
    cursor = () if stream.cursor_field == sql.names.XMIN else (stream.cursor_field,)
    refuse_missing_columns(stream, (*cursor, *stream.primary_key), names)
    return names, modifiers


def _scalar(connection: psycopg.Connection[Any], query: Any, values: dict[str, Any] | None = None) -> Any:
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None
