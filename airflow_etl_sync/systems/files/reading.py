"""One file → its rows, as they are in the file: columns, types, and where each row stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.model import LONGEST_NAME_BYTES
from airflow_etl_sync.core.unread import UNREAD
from airflow_etl_sync.errors import DataError, SchemaError
from airflow_etl_sync.systems.files import telling
from airflow_etl_sync.systems.files.blocks import blocks_of
from airflow_etl_sync.systems.files.csv_lines import read_csv
from airflow_etl_sync.systems.files.json_lines import Records, read_json_lines, texts_of
from airflow_etl_sync.systems.files.parquet import read_parquet
from airflow_etl_sync.systems.files.pieces import BadLine
from airflow_etl_sync.systems.files.place import FilePlace, FoundFile

if TYPE_CHECKING:
    import pyarrow as pa


TypeOf = Callable[[str, "frozenset[telling.Kind]"], str]
"""Tells a column's type, given its name and the kinds of its first values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a file, and lines of it that hold none.

    :param begin: how many rows and such lines were given before
    :param columns: values by column
    :param types: PostgreSQL's type of each column
    :param numbers: the line of each row, in Parquet its number
    :param are_texts: whether values are what stands in the file, whatever their type
    """

    begin: int
    columns: Mapping[str, pa.Array]
    types: Mapping[str, str]
    numbers: Sequence[int]
    bad: Sequence[BadLine] = field(default=())
    are_texts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the beginning of a file tells.

    :param kinds: of the values of each column
    :param types: of columns whose types are exact
    :param rows: how many were looked at
    :param bytes: how much of the file these take
    """

    kinds: Mapping[str, frozenset[telling.Kind]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0

    @property
    def names(self) -> list[str]:
        return [*self.types, *self.kinds]


class FileReader:
    """Reads files one by one.

    :param files: how they are written
    :param columns: which columns to read; empty reads all
    :param reserved: names that a file's own columns must not have
    """

    def __init__(self, place: FilePlace, files: FileSet, columns: Sequence[str], reserved: Sequence[str]) -> None:
        self._place = place
        self._files = files
        self._columns = columns
        self._reserved = reserved

    def sample(self, file: FoundFile) -> Sample:
        """Look at the beginning of a file.

        :raises SchemaError: naming it, where its columns cannot be
        """
        with self._opened(file) as opened:
            sample = self._sample(file, opened)
            _refuse_bad_names(sample.names, self._reserved)
            return sample

    def _sample(self, file: FoundFile, opened: Any) -> Sample:
        form = self._files.format_of(file.name)
        if form == "parquet":
            first = next(read_parquet(opened, self._columns, 0))
            return Sample(types=first.types, rows=first.rows_of_file, bytes=file.size)
        if form == "jsonl":
            records = next(read_json_lines(self._blocks(file, opened)), Records([], [], []))
            fields = self._kinds_of(records)
            return Sample(kinds=fields, rows=len(records.values), bytes=_bytes_read(file, opened))
        pieces = [*islice(read_csv(self._blocks(file, opened), self._files, file.name, self._columns), 2)]
        columns = pieces[-1].columns if pieces else {}
        kinds = {name: _kinds_of(array) for name, array in columns.items()}
        return Sample(kinds=kinds, rows=pieces[-1].rows if pieces else 0, bytes=_bytes_read(file, opened))

    def read(self, file: FoundFile, types: Mapping[str, str], type_of: TypeOf, after: int) -> Iterator[Rows]:
        """The rows of a file, piece by piece, the first of which may be empty.

        :param types: of the columns that files of this stream are known to have
        :param after: so many rows need not be given
        :raises SourceError: (retryable) where it is not what it was any more
        :raises DataError: naming it, where it is damaged
        """
        with self._opened(file) as opened:
            for rows in self._rows(file, opened, types, type_of, after):
                _refuse_bad_names([*rows.columns], self._reserved)
                self._place.refuse_changed(file)
                yield rows
            self._place.refuse_changed(file)

    def _rows(
        self, file: FoundFile, opened: Any, types: Mapping[str, str], type_of: TypeOf, after: int
    ) -> Iterator[Rows]:
        form = self._files.format_of(file.name)
        if form == "parquet":
            return (
                Rows(
                    begin=found.first - 1,
                    columns=found.columns,
                    types=found.types,
                    numbers=found.numbers,
                    are_texts=False,
                )
                for found in read_parquet(opened, self._columns, after)
            )
        blocks = self._blocks(file, opened)
        return self._of_json(blocks, types, type_of) if form == "jsonl" else self._of_csv(blocks, file.name, type_of)

    def _of_csv(self, blocks: Iterator[bytes], name: str, type_of: TypeOf) -> Iterator[Rows]:
        begin = 0
        types: dict[str, str] = {}
        for piece in read_csv(blocks, self._files, name, self._columns):
            if piece.rows and not types:
                types = {column: type_of(column, _kinds_of(array)) for column, array in piece.columns.items()}
            known = types or {column: type_of(column, frozenset()) for column in piece.columns}
            yield Rows(begin=begin, columns=piece.columns, types=known, numbers=piece.numbers, bad=piece.bad)
            begin += piece.rows + len(piece.bad)

    def _of_json(self, blocks: Iterator[bytes], known: Mapping[str, str], type_of: TypeOf) -> Iterator[Rows]:
        """Records as columns. A field that none had before becomes a column from there on; a lacking one is NULL."""
        import pyarrow as pa

        begin, types = 0, dict(known)
        for records in read_json_lines(blocks):
            for name, kinds in self._kinds_of(records, types).items():
                types[name] = type_of(name, kinds)
            columns = {}
            for name, type_ in types.items():
                values = [record.get(name) for record in records.values]
                columns[name] = pa.array(texts_of(name, values, type_), pa.string())
            yield Rows(begin=begin, columns=columns, types=dict(types), numbers=records.numbers, bad=records.bad)
            begin += len(records.values) + len(records.bad)

    def _kinds_of(self, records: Records, but: Collection[str] = ()) -> dict[str, frozenset[telling.Kind]]:
        """The kinds of each field of the records."""
        fields = self._columns or dict.fromkeys(name for record in records.values for name in record)
        first = records.values[: telling.ROWS]
        return {name: telling.kinds_of_json(record.get(name) for record in first) for name in fields if name not in but}

    def _blocks(self, file: FoundFile, opened: Any) -> Iterator[bytes]:
        return blocks_of(opened, self._files.compression_of(file.name), self._files.encoding)

    @contextmanager
    def _opened(self, file: FoundFile) -> Iterator[Any]:
        """An open file; what is wrong with it is told with its name."""
        try:
            is_read_in_order = self._files.format_of(file.name) != "parquet"
            with self._place.open(file, is_read_in_order=is_read_in_order) as opened:
                yield opened
        except DataError as error:
            raise DataError(f"The file {file.name!r} cannot be read: {error}.") from None
        except SchemaError as error:
            raise SchemaError(f"The file {file.name!r} {error}.") from None


def _bytes_read(file: FoundFile, opened: Any) -> int:
    """How much of a file has been read; what unpacks it closes it at its end."""
    return file.size if opened.closed else int(opened.tell())


def _kinds_of(array: pa.Array) -> frozenset[telling.Kind]:
    return telling.kinds_of_texts(array.slice(0, telling.ROWS).to_pylist())


def _refuse_bad_names(names: Sequence[str], reserved: Sequence[str]) -> None:
    """:raises SchemaError: where a name cannot be a column's"""
    for name in names:
        if not name or "\0" in name or len(name.encode(errors="replace")) > LONGEST_NAME_BYTES:
            raise SchemaError(
                f"names a column {name[:20]!r}, as none can be: it is empty, or longer than {LONGEST_NAME_BYTES} bytes"
            )
        if name in reserved or name == UNREAD:
            raise SchemaError(
                f"has a column {name!r}, which is the name of something else here: leave it out (columns)"
            )
