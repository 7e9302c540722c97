"""Rows of a binary log's events, cut into values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from airflow_etl_sync.cdc.binlog.messages import Row
from airflow_etl_sync.cdc.binlog.texts import Codec
from airflow_etl_sync.core.changes import Relation


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as it was when changes were made, and how its rows lie in their events.

    :param codecs: in the order of the relation's columns
    """

    relation: Relation
    codecs: Sequence[Codec] = field(repr=False)

    def rows(self, data: bytes) -> Iterator[Row]:
        """The rows of an event, one behind the other; of an update the row before and the row after, by turns.

        :param data: the event behind its bitmaps of columns, which must name all
        :raises IndexError: where it is not whole
        """
        at, end = 0, len(data)
        null_bytes = (len(self.codecs) + 7) // 8
        while at < end:
            nulls = int.from_bytes(data[at : at + null_bytes], "little")
            row, at = self._row(data, at + null_bytes, nulls)
            yield row
        if at != end:
            raise IndexError("The last row is not whole.")

    def _row(self, data: bytes, at: int, nulls: int) -> tuple[Row, int]:
        row: list[bytes | None] = []
        for codec in self.codecs:
            if nulls & 1:
                row.append(None)
            else:
                size = codec.size
                if not size:
                    begin = at + codec.length_bytes
                    size = int.from_bytes(data[at:begin], "little")
                    at = begin
                row.append(codec.text(data[at : at + size]))
                at += size
            nulls >>= 1
        return row, at
