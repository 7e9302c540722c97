"""Dates and times as texts: as people and databases write them, and as a watermark keeps them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

_WRITTEN = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[ T](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,6})0*)?)?"
    r"\s?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)

_DURATION = re.compile(
    r"P(?:(?P<days>-?\d+)D)?(?:T(?:(?P<hours>-?\d+)H)?(?:(?P<minutes>-?\d+)M)?(?:(?P<seconds>-?\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def parse(text: str) -> datetime:
    """The moment that a text in ISO 8601 writes, aware where the text has a zone; a date is its first moment.

    :raises ValueError: where it writes none, or one that no calendar has
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError("no moment in ISO 8601")
    numbers = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    fraction = int((match["fraction"] or "").ljust(6, "0"))
    return datetime(*numbers, fraction, tzinfo=_zone(match["zone"]))  # type: ignore[arg-type,misc]


def parse_naive(text: str) -> datetime:
    """The moment that a text writes for a column without a zone.

    :raises ValueError: as :func:`parse`, and where it has one
    """
    moment = parse(text)
    if moment.tzinfo is not None:
        raise ValueError("a zone, where the column has none")
    return moment


def parse_instant(text: str) -> datetime:
    """The instant that a text writes, at UTC; one without a zone is taken as UTC.

    :raises ValueError: as :func:`parse`
    """
    moment = parse(text)
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def parse_day(text: str) -> date:
    """The day that a text in ISO 8601 writes.

    :raises ValueError: where it writes none, or a time of day too
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip(), re.ASCII):
        raise ValueError("no day in ISO 8601")
    return parse(text).date()


def parse_duration(text: str) -> timedelta | None:
    """The duration that PostgreSQL writes in ISO 8601; None for one of months, or one that Python cannot hold."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (Decimal(match[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    microseconds = ((days * 24 + hours) * 60 + minutes) * 60_000_000 + seconds * 1_000_000
    try:
        return timedelta(microseconds=int(microseconds))
    except OverflowError:
        return None


def written(value: date) -> str:
    """A moment, or a day, as PostgreSQL writes it with its zone at UTC; without zeros at its end."""
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is None:
        return _trimmed(value)
    return _trimmed(value.astimezone(timezone.utc).replace(tzinfo=None)) + "+00"


def _trimmed(value: datetime) -> str:
    text = value.isoformat(sep=" ")
    return text.rstrip("0") if value.microsecond else text


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
