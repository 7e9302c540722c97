"""Cut a stream of record batches into chunks without holding more than one batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


PLACE = b"etl_sync.place"
"""Where a source notes on a batch's schema which rows it holds: what differs from batch to batch of one chunk."""


class ChunkReader:
    """The batches of one chunk, to be read once and to the end.

    :param first: its first batch
    :param rest: where further batches come from; what is too much is given back to ``rest``
    :param chunk_rows: how many rows it may hold
    """

    def __init__(self, first: pa.RecordBatch, rest: _Pushback, chunk_rows: int) -> None:
        self.schema: pa.Schema = first.schema
        self._kind = _without_place(first.schema)
        self.rows = 0
        self.last: pa.RecordBatch = first
        self._first = first
        self._rest = rest
        self._chunk_rows = chunk_rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        batch: pa.RecordBatch | None = self._first
        while batch is not None:
            room = self._chunk_rows - self.rows
            if batch.num_rows > room:
                self._rest.give_back(batch.slice(room))
                batch = batch.slice(0, room)
            self.rows += batch.num_rows
            self.last = batch
            yield batch
            batch = self._next()

    def _next(self) -> pa.RecordBatch | None:
        """The next batch that belongs to this chunk: a change of schema begins a new one."""
        if self.rows >= self._chunk_rows:
            return None
        batch = next(self._rest, None)
        if batch is not None and not _without_place(batch.schema).equals(self._kind, check_metadata=True):
            self._rest.give_back(batch)
            return None
        return batch


class _Pushback(Iterator["pa.RecordBatch"]):
    """An iterator that takes back the last item."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._returned: pa.RecordBatch | None = None

    def give_back(self, batch: pa.RecordBatch) -> None:
        self._returned = batch

    def __next__(self) -> pa.RecordBatch:
        if self._returned is not None:
            batch, self._returned = self._returned, None
            return batch
        return next(self._batches)


def cut(batches: Iterator[pa.RecordBatch], chunk_rows: int) -> Iterator[ChunkReader]:
    """The chunks of a stream, each of at most ``chunk_rows`` rows and of one schema.

    Each chunk must be read to its end before the next is asked for.
    """
    source = _Pushback(batches)
    for first in source:
        yield ChunkReader(first, source, chunk_rows)


def _without_place(schema: pa.Schema) -> pa.Schema:
    return schema.with_metadata({name: note for name, note in (schema.metadata or {}).items() if name != PLACE})
