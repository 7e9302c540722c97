"""Files as a source."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from airflow_etl_sync.core.files import FILE_COLUMNS, FILE_CURSORS, FileSet
from airflow_etl_sync.core.model import Kind, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow, PlannedRead, Position, Shape
from airflow_etl_sync.systems.files.batches import TYPES_OF_FILE, batch_of, position_in
from airflow_etl_sync.systems.files.place import FilePlace, FoundFile
from airflow_etl_sync.systems.files.reading import FileReader, Sample
from airflow_etl_sync.systems.files.telling import Kind as ValueKind
from airflow_etl_sync.systems.files.telling import told_type
from airflow_etl_sync.systems.files.windows import FileWindows, is_waiting
from airflow_etl_sync.systems.reading import refuse_missing_columns, refuse_missing_key

if TYPE_CHECKING:
    import pyarrow as pa

_FILES_TOLD = 20
"""A plan tells so many files one by one."""


@dataclass(frozen=True, slots=True)
class _Described:
    """What the files tell before they are read.

    :param types: PostgreSQL's type of the files' columns; empty where there is no file
    :param rows_a_byte: about how many rows a byte of a file holds
    """

    types: Mapping[str, str]
    rows_a_byte: float


class FileSource:
    """Reads files that are new or changed, see :class:`~airflow_etl_sync.systems.base.Source`.

    Files are read in the order of the cursor, ``file_modified`` or ``file_name``. A try that follows a failed one reads
    on in the files of that try, as far as they are what they were then.

    :param place: where they are
    :param stream: which of them, and how they are written
    :param lag: files that are younger are not looked at to tell columns and types, as they are not read either
    :raises ConfigurationError: where the stream asks for what files do not have
    """

    def __init__(self, place: FilePlace, stream: Stream, lag: timedelta | int = 0) -> None:
        self.access = place
        self._stream = stream
        self._files = _files_of(stream)
        asked = (*self._files.file_columns, *stream.columns, *stream.primary_key)
        self._of_file = [name for name in FILE_COLUMNS if name in asked]
        reserved = {*self._of_file, stream.cursor_field}
        self._reader = FileReader(place, self._files, _columns_of(stream, self._files), [*reserved])
        self._windows = FileWindows(stream)
        self._lag = lag if isinstance(lag, timedelta) else timedelta(0)
        self._chosen: list[FoundFile] | None = None

    def describe(self) -> Shape:
        types = self._described.types
        if types:
            refuse_missing_columns(self._stream, self._stream.primary_key, [*types, *self._of_file])
        about = [(name, TYPES_OF_FILE[name]) for name in self._of_file] if types else []
        return Shape(
            columns=(*types.items(), *about), primary_key=self._stream.primary_key, is_key_unique=False
        )  # fmt: skip

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
        opened, self._chosen = self._windows.open(self._listed(), watermark, rules, datetime.now(timezone.utc))
        return opened

    def reopen(self, watermark: Watermark, opened: OpenedWindow, kind: Kind) -> None:
        self._chosen = self._windows.reopen(self._listed(), watermark, opened, kind)

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        reached = (str(after["cursor"]), str(after["file"])) if after else ("", "")
        empty, is_empty = None, True
        for file in self._files_in(window):
            order = self._windows.order(file)
            if order < reached:
                continue
            for batch in self._read(file, int(after["rows"]) if after and order == reached else 0):
                if batch.num_rows:
                    is_empty = False
                    yield batch
                else:
                    empty = batch
        if is_empty and empty is not None and window.is_unbounded:
            yield empty

    def position(self, batch: pa.RecordBatch) -> Position:
        return position_in(batch)

    def plan(self, window: Window) -> list[PlannedRead]:
        files, rows_a_byte = self._files_in(window), self._described.rows_a_byte
        told = [
            PlannedRead(f"{file.name}, {file.size} bytes", round(file.size * rows_a_byte))
            for file in files[:_FILES_TOLD]
        ]
        rest = sum(file.size for file in files[_FILES_TOLD:])
        if rest:
            more = f"{len(files) - _FILES_TOLD} more files, {rest} bytes"
            told.append(PlannedRead(more, round(rest * rows_a_byte)))
        return told

    def _listed(self) -> list[FoundFile]:
        return self._windows.in_order(self.access.list())

    def _files_in(self, window: Window) -> list[FoundFile]:
        return self._windows.within(self._listed(), window) if self._chosen is None else self._chosen

    def _read(self, file: FoundFile, after: int) -> Generator[pa.RecordBatch]:
        cursor, declared = self._windows.order(file)[0], dict(self._files.column_types)
        for rows in self._reader.read(file, self._described.types, self._type_of, after):
            batch = batch_of(file, cursor, rows, declared, self._of_file)
            passed = max(0, after - rows.begin)
            if passed < batch.num_rows or not batch.num_rows:
                yield batch.slice(passed)

    @cached_property
    def _described(self) -> _Described:
        """What the last file and the first one tell; what one of them lacks, the other may have."""
        refuse_missing_key(self._stream, self._stream.primary_key)
        clock = datetime.now(timezone.utc)
        files = [file for file in self._listed() if not is_waiting(file, self._lag, clock)]
        samples = [self._reader.sample(file) for file in dict.fromkeys([*files[-1:], *files[:1]])]
        declared = dict(self._files.column_types)
        names = dict.fromkeys(chain.from_iterable(sample.names for sample in samples))
        types = {name: declared.get(name) or _told(name, samples) for name in names}
        rows, size = sum(sample.rows for sample in samples), sum(sample.bytes for sample in samples)
        return _Described(types, rows / max(size, 1))

    def _type_of(self, name: str, kinds: frozenset[ValueKind]) -> str:
        """A column's type, where a file has one that those looked at have not."""
        return self._described.types.get(name) or dict(self._files.column_types).get(name) or told_type(kinds)


def _told(name: str, samples: list[Sample]) -> str:
    exact = next((sample.types[name] for sample in samples if name in sample.types), None)
    none = frozenset[ValueKind]()
    return exact or told_type(none.union(*(sample.kinds.get(name, none) for sample in samples)))


def _columns_of(stream: Stream, files: FileSet) -> list[str]:
    """The columns to read; where there is no header, those of the file."""
    names = [*stream.columns, *(stream.primary_key if stream.columns and files.header else ())]
    return [name for name in dict.fromkeys(names) if name not in FILE_COLUMNS]


def _files_of(stream: Stream) -> FileSet:
    if stream.files is None:
        raise ConfigurationError("uri is missing: name the files to read.")
    if stream.cursor_field not in FILE_CURSORS:
        raise ConfigurationError(
            f"cursor_field of a stream of files is {' or '.join(FILE_CURSORS)}, not {stream.cursor_field[:80]!r}: "
            "files are read in the order of it."
        )
    if stream.where is not None:
        raise ConfigurationError("where is SQL, which files do not speak: leave it out, or filter in the destination.")
    return stream.files
