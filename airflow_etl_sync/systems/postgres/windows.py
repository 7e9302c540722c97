"""The window's upper end on PostgreSQL: how far every change has surely been seen.

``updated_at`` is set when a transaction begins, and seen when it commits: what is newest now says nothing of
what is still to come. So the next watermark is not the largest value read but a *cap*, which lies before
everything that a transaction in flight may yet write. It must be read before the snapshot is opened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import TIME_CURSORS, CursorType, CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.faults import sqlstate_of
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.bounds import start_of
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.types import StreamColumn

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import SQL, Composed

# a backend sets its transaction's time a moment before it shows it in pg_stat_activity
MARGIN = timedelta(seconds=1)
_PREPARED = "watermark stays: the source has prepared transactions, whose start is not visible"
_DISABLED = "watermark stays: a session on the source has track_activities off"
_FENCE_WAIT_SECONDS = 2.0
_FENCES_KEPT = 20


def open_window(
    connection: psycopg.Connection[Any],
    stream: Stream,
    cursor: StreamColumn,
    cursor_type: CursorType,
    watermark: Watermark,
    rules: WindowRules,
) -> OpenedWindow:
    """Choose the window of a run.

    :param connection: one in autocommit mode, so that each statement sees the newest state
    :raises ConfigurationError: where a bound, the lag or the stored watermark does not fit the cursor
    """
    start = start_of(
        stream, cursor_type, watermark, rules, lambda name, text: _canonical(connection, cursor, name, text)
    )
    if isinstance(start, OpenedWindow):
        return start
    low, stored = start.low, start.stored
    if cursor_type in TIME_CURSORS:
        return _time_window(connection, cursor_type, low, stored, watermark, rules.lag)
    return _value_window(connection, stream, cursor, cursor_type, low, stored, watermark, rules.lag)


def _canonical(connection: psycopg.Connection[Any], cursor: StreamColumn, name: str, text: str) -> str:
    import psycopg

    try:
        row = connection.execute(sql.window.as_canonical_text(cursor.plain_type), {"value": text}).fetchone()
    except psycopg.DataError as error:
        if sqlstate_of(error) is None:
            raise
        raise ConfigurationError(f"{name} is not a value of the cursor's type, {cursor.type}.") from None
    return str(row[0]) if row else text


# -- who is in flight -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Activity:
    """What the source shows of its other sessions.

    :param oldest: the start of the oldest transaction in flight
    :param blindness: why some transactions are not shown whoever asks, so that the watermark must stay
    :param is_hidden: whether this login may not see all sessions
    """

    oldest: str | None
    blindness: str | None
    is_hidden: bool


def _read_activity(connection: psycopg.Connection[Any]) -> _Activity:
    """Who is in flight, and only then what is prepared: a transaction may go from the one to the other."""
    oldest, disabled, hidden = _row(connection, sql.window.READ_ACTIVITY)
    (prepared,) = _row(connection, sql.window.COUNT_PREPARED)
    return _Activity(
        oldest,
        _PREPARED if prepared else _DISABLED if disabled else None,
        bool(hidden and not _row(connection, sql.window.CAN_SEE_OTHERS)[0]),
    )


# -- cursors that are times -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cap:
    """How far every change has surely been seen.

    :param clock: None where the watermark must stay
    :param oldest: the start of the oldest transaction in flight
    """

    clock: str | None
    oldest: str | None
    protection: str


def _time_window(
    connection: psycopg.Connection[Any],
    cursor_type: CursorType,
    low: CursorValue | None,
    stored: CursorValue | None,
    watermark: Watermark,
    lag: timedelta | int,
) -> OpenedWindow:
    cap = _read_cap(connection, lag)
    if cap.clock is None:
        return OpenedWindow(Window(low=low, high=stored, protection=cap.protection), watermark.fences)
    statements: dict[str, SQL | Composed] = {
        "timestamptz": sql.window.CAP_TIMESTAMPTZ,
        "timestamp": sql.window.CAP_TIMESTAMP,
        "date": sql.window.cap_date(),
    }
    values = {
        "low": stored.text if stored else None,
        "clock": cap.clock,
        "oldest": cap.oldest,
        "margin": MARGIN,
        "lag": lag or timedelta(0),
    }
    row = connection.execute(statements[cursor_type], values).fetchone()
    high = CursorValue(cursor_type, row[0]) if row else stored
    return OpenedWindow(Window(low=low, high=high, protection=cap.protection), [])


def _read_cap(connection: psycopg.Connection[Any], lag: timedelta | int) -> _Cap:
    """The order matters: the clock first, then who is in flight."""
    clock, is_standby, replayed = _row(connection, sql.window.READ_CLOCK)
    activity = _read_activity(connection)
    if is_standby:
        return _Cap(replayed, None, f"lag of {lag or timedelta(0)} behind what the standby has replayed")
    if activity.blindness:
        return _Cap(None, None, activity.blindness)
    if activity.is_hidden:
        return _Cap(clock, None, f"lag of {lag or timedelta(0)} only: grant pg_read_all_stats to see transactions")
    return _Cap(clock, activity.oldest, "oldest transaction in flight")


# -- cursors that are drawn values ------------------------------------------------------------------------


def _value_window(
    connection: psycopg.Connection[Any],
    stream: Stream,
    cursor: StreamColumn,
    cursor_type: CursorType,
    low: CursorValue | None,
    stored: CursorValue | None,
    watermark: Watermark,
    lag: timedelta | int,
) -> OpenedWindow:
    """An id is drawn before it is seen: a maximum counts once all transactions of its time have ended."""
    (maximum,) = _row(connection, sql.window.read_maximum(stream, cursor_type, cursor.plain_type, stored))
    fences = [fence for fence in watermark.fences if "transactions" in fence]
    in_flight = _in_flight(connection)
    if maximum is not None:
        fences.append({"value": maximum, "transactions": sorted(in_flight)})
    cleared, waiting = _wait_for(connection, fences)
    high = stored
    if cleared:
        fence = cleared[-1]["value"]
        statement = sql.window.highest(cursor.plain_type, with_lag=bool(lag))
        values = {"low": stored.text if stored else None, "fence": fence, "lag": lag}
        high = CursorValue(cursor_type, str(_row(connection, statement, values)[0]))
    protection = _protection(connection, lag, waiting)
    return OpenedWindow(Window(low=low, high=high, protection=protection), waiting[-_FENCES_KEPT:])


def _wait_for(
    connection: psycopg.Connection[Any], fences: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part the fences into cleared and waiting ones, after giving short transactions a moment to end."""
    deadline = time.monotonic() + _FENCE_WAIT_SECONDS
    while True:
        in_flight = _in_flight(connection)
        if _read_activity(connection).blindness:  # asked after these, as one may be prepared in between
            return [], fences
        waiting = [fence for fence in fences if in_flight.intersection(fence["transactions"])]
        if not waiting or time.monotonic() > deadline:
            return [fence for fence in fences if fence not in waiting], waiting
        time.sleep(0.05)


def _in_flight(connection: psycopg.Connection[Any]) -> set[str]:
    return {row[0] for row in connection.execute(sql.window.READ_TRANSACTIONS_IN_FLIGHT)}


def _protection(connection: psycopg.Connection[Any], lag: timedelta | int, waiting: list[dict[str, Any]]) -> str:
    _, is_standby, _ = _row(connection, sql.window.READ_CLOCK)
    activity = _read_activity(connection)
    if is_standby or activity.is_hidden:
        return f"lag of {lag or 0} only: transactions of others cannot be seen"
    if waiting and activity.blindness:
        return activity.blindness
    if waiting:
        return f"transactions in flight: {len(waiting)} maxima wait for theirs to end"
    return "transactions in flight"


def _row(connection: psycopg.Connection[Any], query: Any, values: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    return row or ()
