"""Which kind of value a Python object is, what kinds make together, and how a value is written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.postgres.types import array_element

Kind = Literal[
    "boolean", "integer", "float", "decimal", "text", "bytes", "timestamptz", "timestamp", "date", "time", "timetz",
    "interval", "uuid", "json",
]  # fmt: skip

TYPES: dict[Kind, str] = {
    "boolean": "boolean",
    "integer": "bigint",
    "float": "double precision",
    "decimal": "numeric",
    "text": "text",
    "bytes": "bytea",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "date": "date",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "interval": "interval",
    "uuid": "uuid",
    "json": "jsonb",
}
"""The column type that a kind of value gets where the table does not have one for it."""

WORDS: dict[Kind, str] = {
    "boolean": "booleans",
    "integer": "whole numbers",
    "float": "floats",
    "decimal": "decimals",
    "text": "texts",
    "bytes": "bytes",
    "timestamptz": "times with a zone",
    "timestamp": "times without a zone",
    "date": "dates",
    "time": "times of day",
    "timetz": "times of day with a zone",
    "interval": "durations",
    "uuid": "UUIDs",
    "json": "lists or mappings",
}
NUMBERS: frozenset[Kind] = frozenset({"integer", "float", "decimal"})
_KINDS: dict[type, Kind] = {
    bool: "boolean",
    float: "float",
    str: "text",
    Decimal: "decimal",
    UUID: "uuid",
    timedelta: "interval",
    dict: "json",
    list: "json",
    tuple: "json",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    date: "date",
}
_MOST_OF_BIGINT = 2**63


def plain(column: str, value: Any) -> Any:
    """A value as one of Python's own types; what other libraries write for "nothing" becomes None.

    :raises DataError: where it is of a type that no rule is known for
    """
    kind = type(value)
    if value is None or kind in _KINDS or kind in (int, datetime, time):
        return value
    if isinstance(value, Enum):
        return plain(column, value.value)
    if _is_nothing(value):
        return None
    if getattr(value, "nanosecond", 0):
        raise _finer(column)
    if isinstance(value, (int, datetime, time, *_KINDS)):
        return value
    item = getattr(value, "item", None)  # a scalar of numpy's
    if callable(item) and getattr(value, "shape", None) == () and type(item()) is not kind:
        if kind.__name__ in ("datetime64", "timedelta64") and isinstance(item(), int):
            raise _finer(column)
        return plain(column, item())
    raise DataError(
        f"Column {column!r} holds a value of type {kind.__name__}, for which there is no rule: convert it in the "
        "function."
    )


def _finer(column: str) -> DataError:
    return DataError(
        f"Column {column!r} holds times finer than a microsecond, which PostgreSQL does not: round them in the "
        "function."
    )


def _is_nothing(value: Any) -> bool:
    """Whether it is pandas' NaT or NA."""
    return type(value).__name__ in ("NaTType", "NAType")


def kind_of(value: Any) -> Kind:
    """The kind of a plain value that is not None."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, int) and not isinstance(value, bool):
        return "integer" if -_MOST_OF_BIGINT <= value < _MOST_OF_BIGINT else "decimal"
    if isinstance(value, datetime):
        return "timestamp" if value.utcoffset() is None else "timestamptz"
    if isinstance(value, time):
        return "time" if value.tzinfo is None else "timetz"
    return next(kind for type_, kind in _KINDS.items() if isinstance(value, type_))


def together(column: str, kinds: Iterable[Kind]) -> Kind:
    """The one kind that holds the values of several: numbers of different kinds are decimals.

    :raises DataError: where there is none, naming column and kinds
    """
    found = set(kinds)
    if len(found) == 1:
        return found.pop()
    if found <= NUMBERS:
        return "decimal"
    words = " and ".join(sorted(WORDS[kind] for kind in found))
    raise DataError(
        f"Column {column!r} holds {words}: convert them to one kind in the "
        f"function, or choose a type that holds them, such as column_types={{{column!r}: 'text'}}."
    )


def text_of(column: str, value: Any) -> str:
    """A plain value as PostgreSQL reads it for whatever type its column has.

    :raises DataError: where it has no text: bytes, or a list that holds what JSON does not
    """
    kind = kind_of(value)
    if kind == "bytes":
        raise DataError(f"Column {column!r} holds bytes, and its type is not bytea: convert them in the function.")
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "float":
        return float.__repr__(value)
    if kind == "json":
        return json_of(column, value)
    if kind == "interval":
        return f"{value.days} days {value.seconds}.{value.microseconds:06d} seconds"
    if kind in ("timestamptz", "timestamp", "date", "time", "timetz"):
        return str(value.isoformat())
    return str(value)


def array_of(column: str, value: Any) -> str:
    """A list as PostgreSQL writes arrays; what is no list as :func:`text_of` writes it."""
    if not isinstance(value, (list, tuple)):
        return text_of(column, value)
    return "{" + ",".join(_element_of(column, plain(column, each)) for each in value) + "}"


def _element_of(column: str, value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return array_of(column, value)
    return array_element(text_of(column, value))


def json_of(column: str, value: Any) -> str:
    """A list or mapping as JSON; times, dates and UUIDs inside of it become texts.

    :raises DataError: where it holds what JSON has no exact form for
    """

    def written(inside: Any) -> Any:
        if isinstance(inside, (date, time, UUID)):
            return text_of(column, inside)
        if isinstance(inside, Enum):
            return inside.value
        raise TypeError(type(inside).__name__)

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=written)
    except (TypeError, ValueError, RecursionError) as error:
        what = f"a {error}" if isinstance(error, TypeError) else "NaN, infinity or itself"
        raise DataError(
            f"Column {column!r} holds {what} inside of a list or mapping, which JSON has no exact form for: convert it "
            "in the function."
        ) from None
