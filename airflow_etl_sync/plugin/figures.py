"""Counts, rates, durations and sizes as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

_NONE = "\N{EN DASH}"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def number_text(number: float) -> str:
    """A count with thin groups of three digits."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def rate_text(rate: float | None) -> str:
    """Rows a second; a dash where there is none."""
    if rate is None:
        return _NONE
    return number_text(rate) if rate >= 10 or not rate else f"{rate:.1f}"


def seconds_text(seconds: float | None) -> str:
    """A duration; a dash where it has not ended."""
    if seconds is None:
        return _NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size_text(size: float) -> str:
    """Bytes in the largest unit that leaves a number of at least one, in steps of 1000."""
    for unit in _UNITS[:-1]:
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def moment_text(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
