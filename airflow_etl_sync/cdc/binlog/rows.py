"""Rows of a binary log's events, cut into values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from airflow_etl_sync.cdc.binlog.events import UPDATES, Event, Kind
from airflow_etl_sync.cdc.binlog.messages import Row
from airflow_etl_sync.cdc.binlog.table_maps import length_at
from airflow_etl_sync.cdc.binlog.texts import Codec
from airflow_etl_sync.core.changes import Relation

Raw = Sequence[bytes | None]
"""A row's values as the log has them; None is NULL."""

_ROWS_HEAD = 8
"""In front of what differs by the event's version: the table's number, and flags."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as it was when changes were made, and how its rows lie in their events.

    :param codecs: in the order of the relation's columns
    """

    relation: Relation
    codecs: Sequence[Codec] = field(repr=False)

    def rows(self, data: bytes) -> Iterator[Raw]:
        """The rows of an event, one behind the other; of an update the row before and the row after, by turns.

        :param data: the event behind its bitmaps of columns, which must name all
        :raises IndexError: where it is not whole
        """
        at, end = 0, len(data)
        null_bytes = (len(self.codecs) + 7) // 8
        while at < end:
            nulls = int.from_bytes(data[at : at + null_bytes], "little")
            row, at = self._cut(data, at + null_bytes, nulls)
            yield row
        if at != end:
            raise IndexError("The last row is not whole.")

    def told(self, row: Raw) -> Row:
        """A row as PostgreSQL writes it."""
        return [None if value is None else codec.text(value) for codec, value in zip(self.codecs, row, strict=True)]

    def _cut(self, data: bytes, at: int, nulls: int) -> tuple[Raw, int]:
        row: list[bytes | None] = []
        for codec in self.codecs:
            if nulls & 1:
                row.append(None)
            else:
                size = codec.size
                if not size and codec.length_bytes:
                    begin = at + codec.length_bytes
                    size = int.from_bytes(data[at:begin], "little")
                    at = begin
                row.append(data[at : at + size])
                at += size
            nulls >>= 1
        return row, at


class RowsEvent(NamedTuple):
    """An event of changed rows, cut into its parts.

    :param columns: how many columns its table has
    :param bitmaps: of each kind of row in it, which columns are told
    :param data: the rows
    """

    columns: int
    bitmaps: tuple[bytes, ...]
    data: bytes

    @classmethod
    def of(cls, event: Event) -> RowsEvent:
        body = event.body
        at = _ROWS_HEAD
        if event.kind >= Kind.WRITE_ROWS:  # what more it may tell has a length, which counts itself
            at += int.from_bytes(body[at : at + 2], "little")
        columns, at = length_at(body, at)
        size = (columns + 7) // 8
        count = 2 if event.kind in UPDATES else 1
        ends = [at + size * (number + 1) for number in range(count)]
        return cls(columns, tuple(body[end - size : end] for end in ends), body[ends[-1] :])

    def is_whole(self, columns: int) -> bool:
        """Whether each row has a value for each column of a table."""
        all_of_them = (1 << columns) - 1
        return self.columns == columns and all(
            int.from_bytes(bitmap, "little") & all_of_them == all_of_them for bitmap in self.bitmaps
        )
