"""The values of staged rows, as drivers take them, and what a database gives back for them."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.postgres.types import ENCODING, encoding_of, position_text

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal[
    "integer",
    "numeric",
    "real",
    "float",
    "boolean",
    "text",
    "bytes",
    "date",
    "timestamp",
    "timestamptz",
    "time",
    "uuid",
]

_KINDS: dict[str, Kind] = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "numeric",
    "real": "real",
    "double precision": "float",
    "boolean": "boolean",
    "bytea": "bytes",
    "date": "date",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "uuid": "uuid",
}
_MIDNIGHT = datetime(2000, 1, 1)  # noqa: DTZ001 - a time of day has no zone
_TYPE = re.compile(r"(?P<head>[^(]+?)\s*(?:\((?P<limits>[\d, -]+)\))?(?P<tail>[^()]*)")


class UnfitError(Exception):
    """A value that a column cannot hold; the text says why, without the value."""


def split_type(declared: str) -> tuple[str, tuple[int, ...]]:
    """The name of a type of PostgreSQL, and its length, or its precision and scale; nothing where it has none."""
    match = _TYPE.fullmatch(declared.strip())
    if match is None:
        return declared.strip(), ()
    limits = tuple(int(limit) for limit in (match["limits"] or "").split(",") if limit.strip())
    return f"{match['head']}{match['tail']}".strip(), limits


def kind_of(field: pa.Field) -> Kind:
    """What the values of a staged column are; what has no kind of its own comes as PostgreSQL's text of it."""
    declared, base = types_of(field)
    kinds = (_KINDS.get(split_type(type_)[0]) for type_ in (declared, base))
    return next((kind for kind in kinds if kind), "text")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the staged values of one column."""

    field: pa.Field
    kind: Kind

    @classmethod
    def of(cls, field: pa.Field) -> Reader:
        return cls(field, kind_of(field))

    def values(self, array: pa.Array) -> list[Any]:
        """The values as Python has them; an :class:`UnfitError` where it has none for one."""
        if encoding_of(self.field) is not None:
            return [self.parsed(self.text(scalar) or "infinity") if scalar.is_valid else None for scalar in array]
        found = _as_python(array, self.field.name)
        if self.kind == "text":
            return [each if each is None or isinstance(each, (str, UnfitError)) else str(each) for each in found]
        return [self.parsed(each) if isinstance(each, (str, bytes)) else each for each in found]

    def parsed(self, found: str | bytes) -> Any:
        """The value that PostgreSQL's text, or Arrow's bytes, stand for; an :class:`UnfitError` where there is none."""
        if isinstance(found, bytes):
            return UUID(bytes=found) if self.kind == "uuid" else found
        try:
            return _PARSERS[self.kind](found)
        except (ValueError, OverflowError, InvalidOperation):
            return _untold(self.field.name)

    def text(self, scalar: pa.Scalar) -> str | None:
        """A value as PostgreSQL reads it; None for NULL."""
        return position_text(scalar, self.field.metadata.get(ENCODING))


def _as_python(array: pa.Array, column: str) -> list[Any]:
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        return [_scalar_as_python(scalar, column) for scalar in array]


def _scalar_as_python(scalar: pa.Scalar, column: str) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return _untold(column)


def _untold(column: str) -> UnfitError:
    return UnfitError(f"column {column} holds a value, such as infinity, for which there is none outside of PostgreSQL")


def _parse_boolean(text: str) -> bool:
    if text.lower() not in ("t", "f", "true", "false"):
        raise ValueError("no boolean")
    return text.lower().startswith("t")


def _parse_bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError("no bytes")
    return bytes.fromhex(text[2:])


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    "integer": int,
    "numeric": Decimal,
    "real": float,
    "float": float,
    "boolean": _parse_boolean,
    "text": str,
    "bytes": _parse_bytes,
    "date": moments.parse_day,
    "timestamp": moments.parse_naive,
    "timestamptz": moments.parse_instant,
    "time": time.fromisoformat,
    "uuid": UUID,
}


def told(kind: Kind, found: Any) -> Any:
    """What a database's answer says in the terms of a kind, so that it can be compared with a staged value.

    :raises ValueError: where it says nothing of that kind
    """
    if found is None or type(found) is _AS_THEY_ARE.get(kind):
        return found
    try:
        return _TELLERS[kind](found)
    except (TypeError, AttributeError, OverflowError, InvalidOperation):
        raise ValueError(f"no {kind}") from None


def is_same(kind: Kind, value: Any, found: Any) -> bool:
    """Whether a database's answer is a staged value, to the last digit."""
    if value is None or found is None:
        return value is found
    if type(value) is type(found) and value == found:
        return True
    try:
        return _equal(told(kind, value), told(kind, found))
    except ValueError:
        return False


def is_same_document(text: str | None, found: Any) -> bool:
    """Whether a database that takes JSON apart has kept what a text of it says."""
    if text is None:
        return found is None
    try:
        return bool(_document(text) == (_document(found) if isinstance(found, str) else found))
    except ValueError:
        return False


def _document(text: str) -> Any:
    return json.loads(text)


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return isinstance(other, type(value)) and math.isnan(other)
    return type(value) is type(other) and bool(value == other)


def _whole(found: Any) -> int:
    number = Decimal(_plain(found))
    if number != number.to_integral_value():
        raise ValueError("no whole number")
    return int(number)


def _plain(found: Any) -> str:
    if isinstance(found, bool):
        return str(int(found))
    if not isinstance(found, (int, float, Decimal, str)):
        raise TypeError
    return str(found)


def _single(found: float) -> float:
    """The single float that is written so: some databases write no more digits than tell it from others."""
    return float(struct.unpack("f", struct.pack("f", found))[0])


def _truth(found: Any) -> bool:
    if isinstance(found, str):
        return _parse_boolean(found)
    if found not in (0, 1):
        raise ValueError("neither true nor false")
    return bool(found)


def _octets(found: Any) -> bytes:
    if not isinstance(found, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(found)


def _words(found: Any) -> str:
    if isinstance(found, (bytes, bytearray, memoryview)):
        raise TypeError
    return str(found)


def _day(found: Any) -> date:
    moment = _naive(found)
    if moment.time() != time():
        raise ValueError("a time of day")
    return moment.date()


def _naive(found: Any) -> datetime:
    if isinstance(found, str):
        return moments.parse_naive(found)
    if not isinstance(found, date):
        raise TypeError
    moment: datetime = found if isinstance(found, datetime) else datetime.combine(found, time())
    if moment.tzinfo is not None:
        raise ValueError("a zone")
    return moment


def _aware(found: Any) -> datetime:
    if isinstance(found, str):
        return moments.parse_instant(found)
    moment: datetime = found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found
    return moment.astimezone(timezone.utc)


def _time(found: Any) -> time:
    if isinstance(found, timedelta):
        if not timedelta(0) <= found < timedelta(days=1):
            raise ValueError("no time of day")
        return (_MIDNIGHT + found).time()
    return time.fromisoformat(found) if isinstance(found, str) else found


_AS_THEY_ARE: dict[Kind, type] = {
    "integer": int, "numeric": Decimal, "float": float, "text": str, "bytes": bytes, "boolean": bool, "date": date,
    "time": time, "uuid": UUID,
}  # fmt: skip
_TELLERS: dict[Kind, Callable[[Any], Any]] = {
    "integer": _whole,
    "numeric": lambda found: Decimal(_plain(found)),
    "real": lambda found: _single(float(_plain(found))),
    "float": lambda found: float(_plain(found)),
    "boolean": _truth,
    "text": _words,
    "bytes": _octets,
    "date": _day,
    "timestamp": _naive,
    "timestamptz": _aware,
    "time": _time,
    "uuid": lambda found: found if isinstance(found, UUID) else UUID(str(found)),
}
