"""Which files a run reads: those that it has not loaded yet, in the order of the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_etl_sync.core.files import MODIFIED, NAME
from airflow_etl_sync.core.model import CursorType, CursorValue, Kind, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.bounds import Start, start_of
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.files.memory import MOST, Memory, Order, remember
from airflow_etl_sync.systems.files.place import FoundFile, digest

_RACY = timedelta(seconds=2)
"""A file system that counts time in coarse steps may show two versions of one file with the same time."""

CURSOR_TYPES: dict[str, CursorType] = {MODIFIED: "timestamptz", NAME: "text"}


def is_waiting(file: FoundFile, lag: timedelta, clock: datetime) -> bool:
    """Whether a writer may still be at a file. A time that lies ahead by more than the lag is none that one gave."""
    return clock - lag < file.modified <= clock + lag


class FileWindows:
    """Chooses the files of a window.

    This machine's clock says which files are younger than ``lag``. It decides when a file is read, never whether: one
    that is written on is another version then, and read again.

    :param stream: whose cursor orders the files
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._is_by_time = stream.cursor_field == MODIFIED

    def in_order(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """Files as they are read: of two rows of one key, the one that is read later stays."""
        return sorted(files, key=self.order)

    def order(self, file: FoundFile) -> Order:
        """By it files are put in order."""
        return (file.modified.isoformat(timespec="microseconds") if self._is_by_time else file.name, file.name)

    def open(
        self, files: Sequence[FoundFile], watermark: Watermark, rules: WindowRules, clock: datetime
    ) -> tuple[OpenedWindow, list[FoundFile]]:
        """The window of a run, and its files.

        :param files: all that there are, in their order
        :raises ConfigurationError: where a bound, the lag or the stored watermark does not fit the cursor; or where
            there is no file, and never was
        """
        if not isinstance(rules.lag, timedelta) and rules.lag:
            raise ConfigurationError("lag of a stream of files must be a duration: files younger than it are not read.")
        lag = rules.lag if isinstance(rules.lag, timedelta) else timedelta(0)
        cursor_type = CURSOR_TYPES[self._stream.cursor_field]
        start = start_of(self._stream, cursor_type, watermark, replace(rules, lag=timedelta(0)), self._canonical)
        if isinstance(start, OpenedWindow):
            return start, self.within(files, start.window)
        memory = Memory.of(watermark.fences)
        if not files and memory is None and start.stored is None:
            raise ConfigurationError("No file matches the uri of this stream: correct it, or put the first file there.")
        waiting = {file for file in files if is_waiting(file, lag, clock)}
        settled = [file for file in files if file not in waiting or self._is_known(file, memory)]
        chosen = self._new(settled, memory, start.low, rules.kind)
        noted = remember([(self.order(file), self._version(file), not self._is_racy(file, clock)) for file in settled])
        window = Window(low=start.low, high=self._high(settled, start, clock), protection=_protection(lag, settled))
        return OpenedWindow(window, noted.to_fences()), chosen

    def reopen(
        self, files: Sequence[FoundFile], watermark: Watermark, opened: OpenedWindow, kind: Kind
    ) -> list[FoundFile]:
        """Those files of an earlier try's window that are there as they were; others are left to the next run."""
        if kind == "backfill":
            return self.within(files, opened.window)
        noted = Memory.of(opened.fences) or Memory()
        there = [file for file in files if noted.includes(self._version(file), self.order(file))]
        return self._new(there, Memory.of(watermark.fences), opened.window.low, kind)

    def within(self, files: Sequence[FoundFile], window: Window) -> list[FoundFile]:
        """Those with a cursor from low on, and below an upper bound."""
        return [
            file
            for file in files
            if (window.low is None or self._cursor(file) >= self._value(window.low.text))
            and (window.below is None or self._cursor(file) < self._value(window.below.text))
        ]

    def _new(
        self, files: Sequence[FoundFile], memory: Memory | None, low: CursorValue | None, kind: Kind
    ) -> list[FoundFile]:
        if kind == "full_refresh":
            return [*files]
        if memory is None:
            return self.within(files, Window(low=low))
        return [file for file in files if not self._is_known(file, memory)]

    def _is_known(self, file: FoundFile, memory: Memory | None) -> bool:
        return memory is not None and memory.has(self._version(file), self.order(file))

    def _version(self, file: FoundFile) -> str:
        """What must be another for a file to be read again: by its name, a file is read once."""
        return file.version if self._is_by_time else digest(file.name)

    def _is_racy(self, file: FoundFile, clock: datetime) -> bool:
        return self._is_by_time and not file.has_etag and abs(clock - file.modified) < _RACY

    def _high(self, files: Sequence[FoundFile], start: Start, clock: datetime) -> CursorValue | None:
        """The last file's cursor; a time that lies ahead is none to go on from."""
        stored = None if start.stored is None else self._value(start.stored.text)
        cursors = [self._cursor(file) for file in files]
        if self._is_by_time:
            cursors = [min(cursor, clock) for cursor in cursors]
        values = [value for value in (stored, *cursors) if value is not None]
        if not values:
            return None
        highest = max(values)
        text = moments.written(highest) if isinstance(highest, datetime) else highest
        return CursorValue(CURSOR_TYPES[self._stream.cursor_field], text)

    def _cursor(self, file: FoundFile) -> Any:
        return file.modified if self._is_by_time else file.name

    def _value(self, text: str) -> Any:
        if not self._is_by_time:
            return text
        moment = moments.parse(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

    def _canonical(self, name: str, text: str) -> str:
        try:
            value = self._value(text)
        except ValueError:
            raise ConfigurationError(f"{name} is not a value of the cursor's type, a time.") from None
        return moments.written(value) if isinstance(value, datetime) else value


def _protection(lag: timedelta, files: Sequence[FoundFile]) -> str:
    remembered = f"the last {MOST} files are remembered" if len(files) > MOST else "every file is remembered"
    return f"{remembered}; those younger than {lag} wait" if lag else remembered
