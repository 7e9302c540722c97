"""MySQL's types in its own words: which holds the values of two, and which values one holds."""

from __future__ import annotations

import math
import struct
from datetime import datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

from airflow_etl_sync.systems.database.values import split_type

MOST_DIGITS, MOST_SCALE = 65, 30
_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "integer": 4, "bigint": 8}
_DIGITS = {1: 3, 2: 5, 3: 8, 4: 10, 8: 19}
_TEXTS = {"tinytext": 2**8, "text": 2**16, "mediumtext": 2**24, "longtext": 2**32}
_OCTETS = {"tinyblob": 2**8, "blob": 2**16, "mediumblob": 2**24, "longblob": 2**32}
_CLOCKS = ("datetime", "time", "timestamp")
_MEASURED = (*_CLOCKS, "varchar", "varbinary")


class _Type(NamedTuple):
    name: str
    limits: tuple[int, ...]

    @property
    def size(self) -> int:
        """Of an integer, in bytes."""
        return _BYTES[self.name.removesuffix(" unsigned")]

    @property
    def is_integer(self) -> bool:
        return self.name.removesuffix(" unsigned") in _BYTES


def wider(column: str, wanted: str) -> str | None:
    """The type that a column must get to hold its own values and those of another type; None where there is none.

    It stays within a family: a number column never becomes a text column.

    :param column: as MySQL writes it
    :param wanted: the same
    """
    have, want = _Type(*split_type(column.lower())), _Type(*split_type(wanted.lower()))
    if "decimal" in (have.name, want.name) and {have.name, want.name} <= {*_BYTES, "decimal"}:
        return _decimal(have, want)
    return wanted if _is_wider(have, want) else None


def _is_wider(have: _Type, want: _Type) -> bool:
    if have.is_integer and want.is_integer:
        return want.size > have.size
    if have.name == want.name:
        return have.name in _MEASURED and _first(want) > _first(have)
    for short, long in (("varchar", _TEXTS), ("varbinary", _OCTETS)):
        if have.name in {short, *long} and want.name in long:
            return have.name == short or long[want.name] > long[have.name]
    return (have.name, want.name) == ("float", "double")


def _decimal(have: _Type, want: _Type) -> str | None:
    parts = [_digits(have), _digits(want)]
    room, scale = (max(each) for each in zip(*parts, strict=True))
    is_there = (room, scale) == parts[0] or room + scale > MOST_DIGITS or scale > MOST_SCALE
    return None if is_there else f"decimal({room + scale},{scale})"


def _digits(type_: _Type) -> tuple[int, int]:
    """How many digits before the point, and how many behind it."""
    if type_.is_integer:
        return _DIGITS[type_.size], 0
    precision, scale = (*type_.limits, 10, 0)[:2] if type_.limits else (10, 0)
    return precision - scale, scale


def holds(column: str, value: Any) -> bool:
    """Whether a column has room for a value, NULL and what is no value at all being none of its business."""
    type_ = _Type(*split_type(column.lower()))
    if isinstance(value, (int, Decimal)) and (type_.is_integer or type_.name == "decimal"):
        return _holds_number(type_, Decimal(value))
    if isinstance(value, float) and type_.name == "float":
        return _is_single(value)
    if isinstance(value, (datetime, time)) and type_.name in _CLOCKS:
        return bool(value.microsecond % 10 ** (6 - _first(type_)) == 0)
    if type_.name in ("varchar", "varbinary"):
        return value is None or len(value if isinstance(value, bytes) else str(value)) <= _first(type_)
    if isinstance(value, (str, bytes)):
        room = (_TEXTS | _OCTETS).get(type_.name)
        return room is None or len(value.encode() if isinstance(value, str) else value) < room
    return True


def _holds_number(type_: _Type, number: Decimal) -> bool:
    if not number.is_finite():  # no type has one
        return True
    if not type_.is_integer:
        room, scale = _digits(type_)
        return bool(abs(number) < 10**room and number == round(number, scale))
    if number != number.to_integral_value():
        return False
    bits = 8 * type_.size
    if type_.name.endswith(" unsigned"):
        return bool(0 <= number < 2**bits)
    return bool(-(2 ** (bits - 1)) <= number < 2 ** (bits - 1))


def _is_single(value: float) -> bool:
    try:
        return math.isnan(value) or bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False


def _first(type_: _Type) -> int:
    return type_.limits[0] if type_.limits else 0
