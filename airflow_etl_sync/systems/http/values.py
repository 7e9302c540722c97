"""Values of JSON, as columns of a type take them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any
from uuid import UUID

from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
"""What looks like a moment, and may be one that no column holds."""

_MOST_DIGITS = 131_072
"""More digits before the point has no number of PostgreSQL's."""


def json_text(value: Any) -> str:
    """A value as JSON, its numbers as they were."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json_text(key)}: {json_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def words(value: Any) -> str:
    """A value as a text: a text itself, and everything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def _whole(_: DatabaseColumn, value: Any) -> int:
    number = _number(_, value)
    if number != int(number):
        raise ValueError
    return int(number)


def _number(_: DatabaseColumn, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        raise ValueError
    number = Decimal(value.strip() if isinstance(value, str) else value)
    is_plain = number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS
    if not is_plain or (isinstance(value, str) and "_" in value):
        raise ValueError
    return number


def _float(_: DatabaseColumn, value: Any) -> float:
    number = float(_number(_, value))
    if not isfinite(number):
        raise ValueError
    return number


def _truth(_: DatabaseColumn, value: Any) -> bool:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError
    return value


def _plain(_: DatabaseColumn, value: Any) -> str:
    return words(value)


def _uuid(_: DatabaseColumn, value: Any) -> str:
    return str(UUID(words(value)))


def _day(_: DatabaseColumn, value: Any) -> date:
    return moments.parse_day(words(value))


def _moment(column: DatabaseColumn, value: Any) -> datetime:
    text = words(value)
    try:
        moment = moments.parse(text)
    except ValueError:
        if MOMENT.fullmatch(text):
            raise DataError(
                f"Column {column.name!r} holds times that {column.type} does not, such as some finer than a "
                "microsecond: give it the type text in column_types."
            ) from None
        raise
    if (moment.tzinfo is None) == (column.kind == "timestamptz"):
        wanted = "no zone" if column.kind == "timestamp" else "a zone"
        raise DataError(
            f"Column {column.name!r} is {column.type}, for which times must have {wanted} at their end: give it "
            "another type in column_types."
        )
    return moment


CONVERTERS: dict[Kind, Callable[[DatabaseColumn, Any], Any]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), _whole),
    "numeric": _number,
    "double": _float,
    "boolean": _truth,
    "text": _plain,
    "uuid": _uuid,
    "date": _day,
    **dict.fromkeys(("timestamp", "timestamptz"), _moment),
}


def cursor_value(column: DatabaseColumn, value: Any) -> Any:
    """A record's cursor, as values of its column are compared.

    :raises DataError: where it is no value of the column's type, so that nobody knows which window it is in
    """
    try:
        return CONVERTERS[column.kind](column, value)
    except (ValueError, InvalidOperation):
        raise DataError(
            f"The cursor {column.name!r} is {column.declared}, and a record has a value in it that is none: give it a "
            "type that holds all of them in column_types."
        ) from None
