"""Which type of PostgreSQL holds every value of another, unchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INTEGER_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
_EXACT_NUMBERS = {*_INTEGER_DIGITS, "numeric"}
_STRINGS = {"text", "character varying", "bpchar", "character", "name"}
_PADDED = {"character", "bit"}
"""They fill up what is shorter than they are, so a longer one does not hold it unchanged."""
_FAMILIES = (
    {*_EXACT_NUMBERS, "real", "double precision"},
    _STRINGS,
    {"date", "timestamp without time zone", "timestamp with time zone"},
    {"time without time zone", "time with time zone"},
    {"interval"},
    {"bit", "bit varying", '"bit"'},
    {"inet", "cidr"},
)
_HELD_BY = {
    "smallint": {"integer", "bigint", "real", "double precision"},
    "integer": {"bigint", "double precision"},
    "real": {"double precision"},
    "date": {"timestamp without time zone"},
    "cidr": {"inet"},
}
_NAME_LENGTH = 63
_TYPE = re.compile(r"(?P<head>[^(]+?)\s*(?:\((?P<limits>[\d, -]+)\))?(?P<tail>[^()]*)")


@dataclass(frozen=True, slots=True)
class _Type:
    """A type apart from its length or precision.

    :param name: as ``format_type`` writes it without them
    :param limits: (length,), (precision,) or (precision, scale); empty where there are none
    """

    name: str
    limits: tuple[int, ...]

    @classmethod
    def parse(cls, declared: str) -> _Type:
        match = _TYPE.fullmatch(declared.strip())
        if match is None:
            return cls(declared.strip(), ())
        limits = tuple(int(limit) for limit in (match["limits"] or "").split(",") if limit.strip())
        name = "interval" if match["head"].startswith("interval") else f"{match['head']}{match['tail']}"
        return cls(name.strip(), limits)


def may_bend(source: str, target: str) -> bool:
    """Whether a cast between two built-in types can change a value without an error.

    :param source: as ``format_type`` writes it, with or without length and precision
    :param target: the same
    """
    return any({_Type.parse(source).name, _Type.parse(target).name} <= family for family in _FAMILIES)


def holds(target: str, source: str) -> bool:
    """Whether a column of one type takes every value of another and gives it back the same.

    :param target: as ``format_type`` writes it
    :param source: the same
    """
    into, held = _Type.parse(target), _Type.parse(source)
    if into == held or into in (_Type("text", ()), _Type("character varying", ())):
        return True
    if into.name == "numeric" and held.name in _EXACT_NUMBERS:
        return _numeric_holds(into, held)
    if into.name in _PADDED:
        return False
    if {into.name, held.name} <= _STRINGS:
        return _length(held) is not None and (_length(into) or 0) >= (_length(held) or 0)
    if into.name == held.name:
        return not into.limits or (bool(held.limits) and held.limits <= into.limits)
    return into.name in _HELD_BY.get(held.name, ()) and not into.limits


def wider(target: str, source: str) -> str | None:
    """The type that a column must get to hold its own values and those of another type; None where there is none.

    It stays within a family, numbers, strings or dates: a number column never becomes a text column.
    """
    names = {_Type.parse(target).name, _Type.parse(source).name}
    if not may_bend(source, target) or names & _PADDED:
        return None
    if holds(source, target):
        return source
    if names <= _EXACT_NUMBERS:
        return "numeric"
    return "text" if names <= _STRINGS else None


def _numeric_holds(into: _Type, held: _Type) -> bool:
    if not into.limits:
        return True
    if held.name == "numeric" and not held.limits:
        return False
    precision, scale = (*held.limits, 0)[:2] if held.limits else (_INTEGER_DIGITS[held.name], 0)
    room, into_scale = (*into.limits, 0)[:2]
    return into_scale >= scale and room - into_scale >= precision - scale


def _length(string: _Type) -> int | None:
    if string.name == "name":
        return _NAME_LENGTH
    return string.limits[0] if string.limits else None
