"""The window's upper end on a database whose transactions are not asked after: a fixed distance behind what is newest.

A row's cursor is set before the row is seen. Nobody tells which transactions are in flight, so the next watermark keeps
a distance that is longer than any of them: ``lag``. Rows above it are read again by the next run, which counts them as
skipped, so the distance costs reading, and never delays a row.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import TIME_CURSORS, CursorType, CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.bounds import TIME_LAG, Start, fixed_distance, start_of
from airflow_etl_sync.systems.database import moments, sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn, canonical
from airflow_etl_sync.systems.database.dialect import Dialect

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)


def open_window(
    connection: Connection,
    dialect: Dialect,
    stream: Stream,
    cursor: DatabaseColumn,
    watermark: Watermark,
    rules: WindowRules,
) -> OpenedWindow:
    """Choose the window of a run.

    :param connection: one in autocommit mode, so that each statement sees the newest state
    :param cursor: a column that can be one
    :raises ConfigurationError: where a bound, the lag or the stored watermark does not fit the cursor
    """
    cursor_type = cursor.cursor_type
    if cursor_type is None:
        raise ConfigurationError(f"{cursor.name!r} cannot be a cursor.")
    start = start_of(stream, cursor_type, watermark, rules, lambda name, given: canonical(cursor, name, given))
    if isinstance(start, OpenedWindow):
        return start
    highest = _Highest(connection, dialect, stream, cursor, start)
    if isinstance(rules.lag, timedelta) and cursor_type in TIME_CURSORS:
        high, distance = highest.time(cursor_type, rules.lag or TIME_LAG), str(rules.lag or TIME_LAG)
    elif cursor_type == "text":
        high, distance = highest.text(), ""
    else:
        lag = int(rules.lag) if isinstance(rules.lag, int) and rules.lag else dialect.numbers_lag
        high, distance = highest.number(lag), str(lag) if lag else ""
    protection = _protection(distance, is_set=bool(rules.lag), cursor_type=cursor_type)
    return OpenedWindow(Window(low=start.low, high=high, protection=protection), [])


def _protection(distance: str, *, is_set: bool, cursor_type: CursorType) -> str:
    if distance:
        return fixed_distance(distance, is_set=is_set)
    return "none: texts have no distance" if cursor_type == "text" else "one writer at a time"


class _Highest:
    """How far a watermark may go."""

    def __init__(
        self, connection: Connection, dialect: Dialect, stream: Stream, cursor: DatabaseColumn, start: Start
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._stream = stream
        self._cursor = cursor
        self._stored = start.stored

    def time(self, cursor_type: CursorType, lag: timedelta) -> CursorValue | None:
        """The clock less the lag.

        A time without a zone may have been written in one behind the clock's: then it is the newest one there is, less
        the lag, if that is lower.
        """
        cap = self._dialect.cap(self._connection, cursor_type, lag)
        if cursor_type != "timestamptz":
            newest = self._newest()
            if newest is None:
                return self._stored
            cap = min(cap, _less(newest, lag))
        return self._value(cursor_type, cap)

    def number(self, lag: int) -> CursorValue | None:
        """The largest number less the lag."""
        newest = self._newest()
        cursor_type = self._cursor.cursor_type or "integer"
        return self._stored if newest is None else self._value(cursor_type, type(newest)(newest - lag))

    def text(self) -> CursorValue | None:
        """The last text; the source's order decides, and not that of this machine."""
        newest = self._newest()
        return self._stored if newest is None else CursorValue("text", newest)

    def _newest(self) -> Any:
        """The largest value from the stored one on; None where there is none."""
        low = None if self._stored is None else self._dialect.bound(self._cursor.value(self._stored.text))
        found = self._connection.execute(sql.maximum(self._stream, self._cursor, low)).scalar_one()
        if found is None:
            return None
        value = self._cursor.array([found])[0].as_py()
        return Decimal(value) if self._cursor.kind == "numeric" else value

    def _value(self, cursor_type: CursorType, value: Any) -> CursorValue:
        if self._stored is not None:
            value = max(value, self._cursor.value(self._stored.text))
        return CursorValue(cursor_type, moments.written(value) if isinstance(value, date) else str(value))


def _less(newest: date, lag: timedelta) -> date:
    """So far before; whole seconds, since of two writings of one time the one without fraction comes first."""
    if isinstance(newest, datetime):
        return newest.replace(microsecond=0) - lag
    return (datetime.combine(newest, time()) - lag).date()
