"""Cursor values that people give: PostgreSQL reads, compares and subtracts them, in the state database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Cast,
    ColumnElement,
    Connection,
    Date,
    Interval,
    Numeric,
    Text,
    and_,
    cast,
    collate,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.exc import DataError
from sqlalchemy.types import TypeEngine

from airflow_etl_sync.core.model import TIME_CURSORS, CursorType, CursorValue
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.faults import sqlstate_of

_TYPES: dict[CursorType, TypeEngine[Any]] = {
    "timestamptz": TIMESTAMP(timezone=True),
    "timestamp": TIMESTAMP(),
    "date": Date(),
    "integer": BigInteger(),
    "numeric": Numeric(),
    "text": Text(),
    "xid": BigInteger(),
}
_SETTINGS = {"TimeZone": "UTC", "DateStyle": "ISO, YMD"}
_NOT_FINITE = ("infinity", "-infinity", "nan")


def pin_settings(connection: Connection) -> None:
    """Until the transaction ends, write dates in ISO form, and take moments without a zone as UTC."""
    for name, value in _SETTINGS.items():
        connection.execute(select(func.set_config(name, value, true())))


def read(connection: Connection, cursor_type: CursorType, text: str) -> CursorValue:
    """The value of a text that a person wrote, as PostgreSQL writes it.

    :raises ConfigurationError: where it is no value of the type, or none that a cursor could ever go on from
    """
    value = CursorValue(cursor_type, text)
    written = _ask(connection, _typed(value), f"The value is not one of the cursor's type, {cursor_type}.")
    if cursor_type != "text" and written.lower() in _NOT_FINITE:
        raise ConfigurationError("The value is not finite: no cursor goes on from there. To read everything, reset.")
    return CursorValue(cursor_type, written)


def as_python(connection: Connection, value: CursorValue) -> Any:
    """A cursor value as Python writes it: datetime, date, int, Decimal or str. Moments are in UTC."""
    return connection.scalar(select(_typed(value)))


def clock(connection: Connection) -> datetime:
    """The database's own clock, as of the transaction's start."""
    moment: datetime = connection.execute(select(func.now())).scalar_one()
    return moment


def go_back(connection: Connection, value: CursorValue, back: timedelta | int) -> CursorValue:
    """The value that lies so far below; a date goes back by whole days, and rather by one more than by one less.

    :raises ConfigurationError: where the distance is not one for its type, or leads out of the type's range
    """
    if value.type == "text":
        raise ConfigurationError("A text has no distance to go back by: give the value to go back to.")
    if (value.type in TIME_CURSORS) != isinstance(back, timedelta):
        needed = "duration, such as P7D or PT1H" if value.type in TIME_CURSORS else "number"
        raise ConfigurationError(f"A watermark of type {value.type} goes back by a {needed}.")
    distance = literal(back, Interval() if isinstance(back, timedelta) else Numeric())
    lower = cast(_typed(value).op("-")(distance), _TYPES[value.type])
    written = _ask(connection, lower, f"So far back there is no value of the cursor's type, {value.type}.")
    return CursorValue(value.type, written)


def is_below(connection: Connection, value: CursorValue, other: CursorValue) -> bool:
    """Whether a value surely comes before another of its type.

    How texts are ordered is the source's affair and not known here. One counts as lower only where it is in the
    order of this database, in that of bytes, and in that of bytes without regard to case.
    """
    lower, higher = _typed(value), _typed(other)
    conditions = [lower < higher]
    if value.type == "text":
        conditions += [_bytes(lower) < _bytes(higher), _bytes(func.lower(lower)) <= _bytes(func.lower(higher))]
    return bool(connection.scalar(select(and_(*conditions))))


def is_same(connection: Connection, value: CursorValue, other: CursorValue) -> bool:
    """Whether two values of one type are equal, however they are written."""
    return bool(connection.scalar(select(_typed(value) == _typed(other))))


def _bytes(text: ColumnElement[Any]) -> ColumnElement[Any]:
    return collate(text, "C")


def _typed(value: CursorValue) -> Cast[Any]:
    return cast(literal(value.text, Text()), _TYPES[value.type])


def _ask(connection: Connection, value: ColumnElement[Any], refusal: str) -> str:
    try:
        return str(connection.scalar(select(cast(value, Text()))))
    except DataError as error:
        if sqlstate_of(error) is None:
            raise
        raise ConfigurationError(refusal) from None
