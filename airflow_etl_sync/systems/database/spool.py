"""The rows of a staged chunk, on this machine's disk: gone with the process, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.database.values import Reader
from airflow_etl_sync.systems.spool import spooled

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 10_000


class Spool:
    """Rows that are read from the disk as they are needed, in any order.

    The file has no name any more once it is written, so nobody else opens it, and nothing is left to remove.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self.table: pa.Table = spooled(schema, batches)

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def close(self) -> None:
        """Let go of the rows."""
        del self.table

    def values(self, column: str) -> Iterator[Any]:
        """The values of a column, as Python has them."""
        reader = Reader.of(self.schema.field(column))
        for chunk in self.table[column].chunks:
            yield from reader.values(chunk)

    def take(self, places: Sequence[int]) -> pa.RecordBatch:
        """The rows at some places, in that order."""
        taken = self.table.take(list(places)).combine_chunks()
        [batch] = taken.to_batches() or [_empty(self.schema)]
        return batch

    def groups(self, key: Sequence[str], newest: Sequence[str]) -> Iterator[list[int]]:
        """The places of the rows of each key, in the order of the keys; of one key's the newest row last.

        :param newest: the columns that tell the newer of two rows, the most telling first; else the place does
        """
        places = self._order(key, newest)
        keys = [_comparable(self.table, name) for name in key]
        group: list[int] = []
        before: tuple[Any, ...] | None = None
        for first in range(0, len(places), _AT_ONCE):
            part = places[first : first + _AT_ONCE]
            values = zip(*(column.take(part).to_pylist() for column in keys), strict=True)
            for place, value in zip(part, values, strict=True):
                if group and value != before:
                    yield group
                    group = []
                group.append(place)
                before = value
        if group:
            yield group

    def without_key(self, key: Sequence[str]) -> set[int]:
        """The places of the rows with NULL in their key."""
        import pyarrow.compute as pc

        return {place for name in key for place in pc.indices_nonzero(pc.is_null(self.table[name])).to_pylist()}

    def with_value(self, column: str) -> set[int]:
        """The places of the rows that have a value in a column."""
        import pyarrow.compute as pc

        return set(pc.indices_nonzero(pc.is_valid(self.table[column])).to_pylist())

    def _order(self, key: Sequence[str], newest: Sequence[str]) -> list[int]:
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [_comparable(self.table, name) for name in key]
        for name in newest:  # one without a value is older than any other
            columns += [pc.is_valid(self.table[name]).cast(pa.int8()), _comparable(self.table, name)]
        columns.append(pa.array(range(self.rows), pa.int64()))
        table = pa.table(columns, names=[str(number) for number in range(len(columns))])
        order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in table.column_names])
        return order.to_pylist()  # type: ignore[no-any-return]


def _comparable(table: pa.Table, name: str) -> Any:
    """A column whose order and equality are those of its values; numbers may have come as texts."""
    import pyarrow as pa

    column = table[name]
    if Reader.of(table.schema.field(name)).kind != "numeric" or not pa.types.is_string(column.type):
        return column
    texts = column.to_pylist()
    numbers = {text: Decimal(text) for text in set(texts) if text is not None}
    ordered = sorted(set(numbers.values()), key=lambda number: (number.is_nan(), 0 if number.is_nan() else number))
    rank = {number: place for place, number in enumerate(ordered)}
    return pa.chunked_array([pa.array([None if text is None else rank[numbers[text]] for text in texts], pa.int64())])


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)
