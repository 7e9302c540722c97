"""The types of a query's columns where the database does not tell them: told from its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROWS = 1_000
"""So many rows are looked at."""

_KINDS: dict[type, tuple[Kind, str]] = {
    bool: ("boolean", "boolean"),
    int: ("bigint", "bigint"),
    float: ("double", "double precision"),
    Decimal: ("numeric", "numeric"),
    str: ("text", "text"),
    bytes: ("bytes", "bytea"),
    memoryview: ("bytes", "bytea"),
    date: ("date", "date"),
    time: ("time", "time without time zone"),
    timedelta: ("interval", "interval"),
    UUID: ("uuid", "uuid"),
}
_NUMBERS = frozenset({int, float, Decimal})


def told_columns(connection: Connection, stream: Stream, names: Sequence[str]) -> tuple[DatabaseColumn, ...]:
    """The columns of a query; one in which nothing but NULL is seen is taken for text.

    A later row whose value is of another type is refused when it is read.

    :raises DataError: where the first rows hold values of two types in a column, or of one that has no rule
    """
    rows = connection.execute(sql.first_rows(stream, ROWS)).fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return tuple(_column(name, values) for name, values in zip(names, columns, strict=True))


def _column(name: str, values: Sequence[Any]) -> DatabaseColumn:
    kind, type_ = _told(name, values)
    return DatabaseColumn(name=name, declared=f"{type_}, as its first rows tell", kind=kind, type=type_, is_told=True)


def _told(name: str, values: Sequence[Any]) -> tuple[Kind, str]:
    seen = {type(value) for value in values if value is not None}
    if not seen:
        return ("text", "text")
    if seen == {datetime}:
        is_aware = {value.tzinfo is not None for value in values if value is not None}
        if is_aware == {True}:
            return ("timestamptz", "timestamp with time zone")
        if is_aware == {False}:
            return ("timestamp", "timestamp without time zone")
    if len(seen) > 1 and seen <= _NUMBERS:
        return ("numeric", "numeric")
    if len(seen) == 1 and (found := _KINDS.get(seen.pop())):
        return found
    raise DataError(f"Column {name!r} of the query holds values of more than one type: CAST it to one.")
