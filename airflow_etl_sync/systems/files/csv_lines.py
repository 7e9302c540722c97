"""CSV → columns of texts, each exactly as it is written.

A block without quotes is parsed by Arrow. Where there are quotes, Python's reader parses it, since it refuses what is
quoted wrongly: Arrow would take ``"a"b`` for ``ab``, and a quote that does not end for a value that goes on to the end
of the file. After a line that cannot be read, reading goes on with the one behind it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.files.blocks import BLOCK_BYTES, LONGEST_LINE_BYTES
from airflow_etl_sync.systems.files.lines import Lines, Row
from airflow_etl_sync.systems.files.pieces import BadLine, Piece, refuse_missing

if TYPE_CHECKING:
    import pyarrow as pa

_NO_UTF8 = "it is not UTF-8"
_NUL = "it holds the character NUL, which no text of a database holds"


def read_csv(blocks: Iterator[bytes], rules: FileSet, name: str, columns: Sequence[str]) -> Iterator[Piece]:
    """The rows of a file, a block at a time; a file without any line gives nothing.

    :param rules: how it is written
    :param name: of the file
    :param columns: the columns to give; empty gives all. A file without a header has these, in this order
    :raises SchemaError: where the header lacks one, or names columns that cannot be
    """
    lines = Lines(blocks)
    if not lines.fill():
        return
    dialect = _Dialect(rules.delimiter_of(name), rules.quote, frozenset(rules.null_values))
    header = _header(lines, dialect) if rules.header else [*columns]
    if not header:
        raise SchemaError("has no header: name its columns, in their order, in columns")
    wanted = [*(columns or header)]
    refuse_missing(wanted, header)
    reader = _Reader(dialect, header, wanted)
    yield reader.nothing()
    while lines.fill():
        yield reader.fast(lines) if reader.is_plain(lines) else reader.slow(lines)


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    quote: str
    nulls: frozenset[str]

    def rows(self, lines: Iterator[str]) -> Any:
        """Python's reader."""
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE_BYTES))
        quoting = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        return csv.reader(lines, delimiter=self.delimiter, doublequote=True, strict=True, **quoting)

    def with_nulls(self, fields: list[str], lines: Sequence[str]) -> Sequence[str | None]:
        """The fields of a row, those being NULL that are written so without quotes."""
        if self.nulls.isdisjoint(fields):
            return fields
        text = "".join(lines)
        if not self.quote or self.quote not in text:
            return [None if each in self.nulls else each for each in fields]
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        pattern = f"({quote}(?:[^{quote}]|{quote}{quote})*{quote}|[^{delimiter}\r\n]*)(?:{delimiter}|\r?\n?$)"
        is_quoted = [found[1].startswith(self.quote) for found in re.finditer(pattern, text)]
        return [
            None if each in self.nulls and not quoted else each for each, quoted in zip(fields, is_quoted, strict=False)
        ]


class _Found(NamedTuple):
    """What a block holds."""

    rows: list[Sequence[str | None]]
    numbers: list[int]
    bad: list[BadLine]

    def add(self, number: int, row: Sequence[str | None]) -> None:
        """Add a row, by the line in which it begins."""
        self.rows.append(row)
        self.numbers.append(number)


class _Reader:
    """Makes pieces of blocks.

    :param header: all columns of the file
    :param wanted: those to give
    """

    def __init__(self, dialect: _Dialect, header: Sequence[str], wanted: Sequence[str]) -> None:
        self._dialect = dialect
        self._header = header
        self._wanted = wanted
        self._places = [header.index(name) for name in wanted]

    def nothing(self) -> Piece:
        """A piece without rows: it tells the columns."""
        import pyarrow as pa

        return Piece({name: pa.array([], pa.string()) for name in self._wanted}, [])

    def is_plain(self, lines: Lines) -> bool:
        """Whether each line of the block is a row, and each field its text."""
        block = lines.block
        if not lines.is_whole or not block or b"\0" in block or (self._dialect.quote.encode() or b"\0") in block:
            return False
        if block.startswith((b"\n", b"\r\n")) or b"\n\n" in block or b"\n\r\n" in block:
            return False
        return block.count(b"\r") == block.count(b"\r\n") and _is_utf8(block)

    def fast(self, lines: Lines) -> Piece:
        """A piece of a plain block."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        first, block, bad = lines.next_number, lines.take_block(), list[BadLine]()

        def note(row: Any) -> str:
            bad.append(BadLine(first + row.number - 1, self._wrong_number(row.actual_columns), row.text))
            return "skip"

        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=[*self._header]),
            arrow_csv.ParseOptions(
                delimiter=self._dialect.delimiter, quote_char=False, double_quote=False, invalid_row_handler=note,
                ignore_empty_lines=False,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(self._header, pa.string()), include_columns=[*self._wanted],
                strings_can_be_null=True, null_values=[*self._dialect.nulls], check_utf8=False,
            ),
        )  # fmt: skip
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        lines.next_number += count
        skipped = {line.number for line in bad}
        numbers = [number for number in range(first, first + count) if number not in skipped]
        return Piece({name: _joined(table.column(name)) for name in self._wanted}, numbers, bad)

    def slow(self, lines: Lines) -> Piece:
        """A piece of a block in which fields are quoted, or lines cannot be read."""
        import pyarrow as pa

        found = _Found([], [], [])
        until = lines.taken_bytes + BLOCK_BYTES
        lines.load()
        while lines.taken_bytes < until and self._take_sound(lines, found):
            number = lines.next_number
            row = self._row(lines)
            if isinstance(row, BadLine):
                found.bad.append(row)
            elif row is not None:
                found.add(number, row)
        columns = {
            name: pa.array([row[place] for row in found.rows], pa.string())
            for name, place in zip(self._wanted, self._places, strict=True)
        }
        return Piece(columns, found.numbers, found.bad)

    def _take_sound(self, lines: Lines, found: _Found) -> bool:
        """Take the rows that are there, up to one that cannot be read or goes on elsewhere; whether a line is left."""
        texts, done = lines.texts(), 0
        reader = self._dialect.rows(iter(texts))
        try:
            for read in reader:
                taken = texts[done : reader.line_num]
                if read and len(read) != len(self._header):
                    break
                if read:
                    found.add(lines.next_number + done, self._dialect.with_nulls(read, taken))
                done = reader.line_num
        except csv.Error:
            pass
        lines.drop(done)
        return lines.has_pending

    def _row(self, lines: Lines) -> Sequence[str | None] | BadLine | None:
        """The next row; None for an empty line."""
        number, taken = lines.next_number, Row(lines)
        try:
            read = next(self._dialect.rows(taken.feed()))
        except (csv.Error, StopIteration):
            return self._bad(lines, taken, number, _NUL if b"\0" in taken[0] else "its quotes do not match")
        except UnicodeDecodeError:
            return self._bad(lines, taken, number, _NO_UTF8)
        if any(b"\0" in line for line in taken):
            return self._bad(lines, taken, number, _NUL)
        if read and len(read) != len(self._header):
            return self._bad(lines, taken, number, self._wrong_number(len(read)))
        return self._dialect.with_nulls(read, [line.decode() for line in taken]) if read else None

    def _bad(self, lines: Lines, taken: Row, number: int, reason: str) -> BadLine:
        lines.give_back(taken[1:])
        return BadLine(number, reason, taken[0].decode(errors="replace").rstrip("\r\n"))

    def _wrong_number(self, found: int) -> str:
        return f"it has {found} fields, and the file {len(self._header)} columns"


def _header(lines: Lines, dialect: _Dialect) -> list[str]:
    row = Row(lines)
    try:
        return [*next(dialect.rows(row.feed()))]
    except (csv.Error, StopIteration, UnicodeDecodeError):
        raise SchemaError("has a header that cannot be read") from None


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _joined(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], pa.string())])
