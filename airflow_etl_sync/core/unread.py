"""Records that a source could not read: they travel among the rows, and are set aside before these are merged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import ColumnTypes, noted, types_of
from airflow_etl_sync.core.failed_record import FailedRecord
from airflow_etl_sync.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

UNREAD = "_sync_unread"
"""A column that no table gets. Where a row has a value in it, all its others are NULL."""


def unread_field() -> pa.Field:
    """The column in an Arrow schema."""
    import pyarrow as pa

    return noted(UNREAD, pa.string(), ColumnTypes("text", "text"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A record that is none, as far as its source could tell.

    :param place: where it stands, in words without values: file and line
    :param reason: what is wrong with it, without values
    :param text: what stands there
    """

    place: str
    reason: str
    text: str = field(repr=False)

    def to_text(self) -> str:
        """As it stands in its column."""
        return json.dumps({"place": self.place, "reason": self.reason, "text": self.text}, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Unread:
        """:raises DataError: where somebody has written something else into the column"""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise DataError(f"{UNREAD} of a failed record is not what this package writes: set it to null.") from None


class Sieve:
    """Batches on their way to the destination, from which records that could not be read are taken out.

    :param schema: of the batches as they come
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self._place = schema.get_field_index(UNREAD)
        self._given = schema
        self._batches = batches
        self.schema: pa.Schema = schema if self._place < 0 else schema.remove(self._place)
        self.texts: list[str] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            yield batch if self._place < 0 else self._sifted(batch)

    def _sifted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        column = batch.column(self._place)
        if column.null_count < len(column):
            self.texts += [text for text in column.to_pylist() if text is not None]
            batch = batch.filter(column.is_null())
        columns = [array for place, array in enumerate(batch.columns) if place != self._place]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def failed(self, key: Sequence[str]) -> tuple[FailedRecord, ...]:
        """What was taken out, once all batches have passed.

        :param key: the columns that name a record; nobody knows their values
        """
        types = {each.name: types_of(each) for each in self._given} if self.texts else {}
        blank: dict[str, str | None] = dict.fromkeys(types)
        records = [(text, Unread.from_text(text)) for text in self.texts]
        return tuple(
            FailedRecord(
                key=(None,) * len(key),
                payload={**blank, UNREAD: text},
                types=types,
                error=f"{unread.place}: {unread.reason}",
            )
            for text, unread in records
        )


def refuse_too_many(unread: Sequence[FailedRecord], allowed: int) -> None:
    """:raises DataError: naming the first, where there are more than may be set aside"""
    if len(unread) > allowed:
        more = f", and {len(unread) - 1} more records of its chunk" if len(unread) > 1 else ""
        raise DataError(
            f"{unread[0].error}{more}: mend them at the source, or allow more failed records (max_errors or "
            f"max_error_percent; now {allowed} more may be set aside). The chunk is not loaded."
        )
