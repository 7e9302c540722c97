"""From where a window is read: the watermark, or what the author says. The same for any source with a cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from airflow_etl_sync.core.model import TIME_CURSORS, CursorType, CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow

TIME_LAG = timedelta(minutes=5)
"""How far a watermark that is a time stays behind where no lag is set and nobody tells who is writing."""

NUMBERS_LAG = 1_000
"""The same of one that is a number."""


def fixed_distance(distance: object, *, is_set: bool) -> str:
    """What protects from late commits, in words: a distance that the author has set, or else one of those above."""
    return f"fixed distance of {distance}" + ("" if is_set else ", as no lag is set")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a window begins.

    :param low: where it is read from; None reads everything
    :param stored: below which its high must not fall; None where nothing is known yet
    """

    low: CursorValue | None
    stored: CursorValue | None


def start_of(
    stream: Stream,
    cursor_type: CursorType,
    watermark: Watermark,
    rules: WindowRules,
    canonical: Callable[[str, str], str],
) -> Start | OpenedWindow:
    """Where the window of a run begins; a backfill's is the whole window, and moves no watermark.

    :param canonical: the value of an argument, given by name and text, as the source writes it
    :raises ConfigurationError: where a bound, the lag or the stored watermark does not fit the cursor
    """

    def bound(name: str, text: str | None) -> CursorValue | None:
        return None if text is None else CursorValue(cursor_type, canonical(name, text))

    if rules.kind == "backfill":
        low, below = bound("range_start", rules.range_start), bound("range_end", rules.range_end)
        return OpenedWindow(Window(low=low, below=below, protection="backfill"), watermark.fences)
    refuse_other_type(stream, cursor_type, watermark)
    _refuse_other_lag(cursor_type, rules)
    stored = watermark.cursor or bound("initial_value", rules.initial_value)
    return Start(None if rules.full_refresh else stored, stored)


def refuse_other_type(stream: Stream, cursor_type: CursorType, watermark: Watermark) -> None:
    """:raises ConfigurationError: where the watermark is of another cursor than the stream's"""
    if watermark.cursor and watermark.cursor.type != cursor_type:
        raise ConfigurationError(
            f"The stored watermark of {stream.sync_key!r} is of type {watermark.cursor.type}, its cursor "
            f"{stream.cursor_field!r} of type {cursor_type}: use another sync_key, or reset the watermark."
        )


def _refuse_other_lag(cursor_type: CursorType, rules: WindowRules) -> None:
    if not rules.lag:
        return
    if cursor_type == "text" or (cursor_type in TIME_CURSORS) != isinstance(rules.lag, timedelta):
        needed = {"text": "no lag", "integer": "a number", "numeric": "a number"}.get(cursor_type, "a duration")
        raise ConfigurationError(f"A cursor of type {cursor_type} takes {needed} as lag.")
