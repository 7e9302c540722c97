"""Which records an API is asked for, and how far the watermark may go once they are read.

An API does not tell who is writing to it, so the watermark keeps a fixed distance, ``lag``, to the highest cursor that
was read. What is above it is read again by the next run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import TIME_CURSORS, CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.bounds import NUMBERS_LAG, TIME_LAG, fixed_distance, start_of
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.database.columns import DatabaseColumn, canonical
from airflow_etl_sync.systems.reading import unfit_cursor
from airflow_etl_sync.systems.records.highest import lagging, not_ahead_of

Lag = timedelta | int


def open_window(stream: Stream, cursor: DatabaseColumn, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
    """Where a run reads from; its high is only known when it is read to its end.

    :raises ConfigurationError: where a bound, the lag or the stored watermark does not fit the cursor
    """
    cursor_type = cursor.cursor_type
    if cursor_type is None:
        raise unfit_cursor(cursor.name, cursor.declared)
    start = start_of(stream, cursor_type, watermark, rules, lambda name, given: canonical(cursor, name, given))
    if isinstance(start, OpenedWindow):
        return start
    return OpenedWindow(Window(low=start.low, high=start.stored, protection=_protection(cursor, rules)), [])


def lag_of(cursor: DatabaseColumn, rules: WindowRules) -> Lag:
    """How far the watermark stays behind; 0 for texts, which have no distance."""
    if cursor.cursor_type == "text":
        return 0
    return rules.lag or (TIME_LAG if cursor.cursor_type in TIME_CURSORS else NUMBERS_LAG)


def _protection(cursor: DatabaseColumn, rules: WindowRules) -> str:
    lag = lag_of(cursor, rules)
    if not lag:
        return "none: texts have no distance"
    return fixed_distance(lag, is_set=bool(rules.lag))


def high_of(
    cursor: DatabaseColumn, window: Window, highest: Any, clock: datetime | None, rules: WindowRules
) -> CursorValue | None:
    """Where the next window starts, after a window whose highest cursor is known.

    It never lies below what the window had for it, nor ahead of the API's clock.

    :raises ConfigurationError: where the cursor is a time, and the API does not tell its own
    """
    cursor_type = cursor.cursor_type
    if highest is None or cursor_type is None:
        return window.high
    if cursor_type in TIME_CURSORS:
        if clock is None:
            raise ConfigurationError(
                "The API does not tell its time (no header Date), so a watermark that is a time could run ahead of it: "
                "use a cursor that is a number, or have the API send it."
            )
        highest = not_ahead_of(clock, highest)
    high = lagging(highest, lag_of(cursor, rules))
    if window.high is not None:
        high = max(high, cursor.value(window.high.text))
    return CursorValue(cursor_type, text_of(high))


def text_of(value: Any) -> str:
    """A cursor value as a watermark keeps it."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(timezone.utc)
    return moments.written(value) if isinstance(value, date) else str(value)


class Bounds:
    """The window, as a record's cursor is held against it.

    Whether an API counts a bound in, and how finely it compares, is nobody's promise: it is asked for one step more on
    both sides, and what is outside is left out here. Texts are ordered by the API, so only a backfill leaves any out.
    """

    def __init__(self, endpoint: Endpoint, cursor: DatabaseColumn | None, window: Window) -> None:
        self._endpoint = endpoint
        self._low = self._below = None
        self._is_text = cursor is not None and cursor.cursor_type == "text"
        self._is_backfill = window.protection == "backfill"
        if cursor is not None:
            self._low = None if window.low is None else cursor.value(window.low.text)
            self._below = None if window.below is None else cursor.value(window.below.text)

    def holds(self, value: Any) -> bool:
        """Whether a record with that cursor is in the window; one without is in all that the API gives it in."""
        if value is None or (self._is_text and not self._is_backfill):
            return True
        return (self._low is None or value >= self._low) and (self._below is None or value < self._below)

    def params(self) -> Iterator[tuple[str, str]]:
        """The query parameters that ask for the window."""
        wanted = self._endpoint.cursor_format
        if self._endpoint.start_param and self._low is not None:
            yield self._endpoint.start_param, _shown(_step(self._low, wanted, -1), wanted)
        if self._endpoint.end_param and self._below is not None:
            yield self._endpoint.end_param, _shown(_step(self._below, wanted, 1), wanted)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECONDS_IN_PATTERN = ("%S", "%s", "%T", "%X", "%c")


def _shown(value: Any, wanted: str) -> str:
    if not isinstance(value, date):
        return str(value)
    if wanted == "date" or (wanted == "iso" and not isinstance(value, datetime)):
        return value.strftime("%Y-%m-%d")
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    if wanted.startswith("epoch"):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return str((moment - _EPOCH) // timedelta(milliseconds=1 if wanted == "epoch_ms" else 1000))
    if wanted != "iso":
        return str(value.strftime(wanted))
    return f"{value:%Y-%m-%dT%H:%M:%S}" + ("Z" if value.tzinfo is not None else "")


def _step(value: Any, wanted: str, sign: int) -> Any:
    """One number, day or second farther, whichever can be told apart in how it is written; a text as it is."""
    if isinstance(value, str):
        return value
    if not isinstance(value, date):
        return value + sign
    is_rough = wanted == "date" or ("%" in wanted and not any(each in wanted for each in _SECONDS_IN_PATTERN))
    step = timedelta(seconds=1) if isinstance(value, datetime) and not is_rough else timedelta(days=1)
    try:
        return value + sign * step
    except OverflowError:
        return value
