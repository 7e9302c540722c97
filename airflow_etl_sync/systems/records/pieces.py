"""What a function gave → pieces of it: lists of records, and Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, Any]
_DEEPEST = 2
"""A generator may yield lists of records, and no lists of lists."""


def pieces(given: object, most_rows: int) -> Iterator[list[Record] | pa.RecordBatch]:
    """Cut what a function gave into pieces, holding no more than one of them.

    :param given: a record (a mapping), an Arrow, polars or pandas table, or an iterable of these, of which each may
        also be a list of records
    :param most_rows: how many records are in one list at most
    :raises ConfigurationError: where it is something else
    """
    waiting: list[Record] = []
    for part in _parts(given, 0):
        if isinstance(part, Mapping):
            waiting.append(part)
        if waiting and (len(waiting) >= most_rows or not isinstance(part, Mapping)):
            yield waiting
            waiting = []
        if not isinstance(part, Mapping):
            yield part
    if waiting:
        yield waiting


def _parts(given: Any, depth: int) -> Iterator[Record | pa.RecordBatch]:
    batches = None if isinstance(given, Mapping) else _batches(given)
    if isinstance(given, Mapping):
        yield given
    elif batches is not None:
        yield from batches
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)) and depth <= _DEEPEST:
        for part in given:
            yield from _parts(part, depth + 1)
    else:
        raise ConfigurationError(
            f"The function gave a value of type {type(given).__name__}: return or yield records (mappings), or Arrow, "
            "polars or pandas tables; where there are none, an empty list."
        )


def _batches(given: Any) -> Iterable[pa.RecordBatch] | None:
    """The batches of what speaks Arrow or the dataframe protocol; None where it does not."""
    import pyarrow as pa

    if isinstance(given, pa.RecordBatch):
        return [given]
    if hasattr(given, "__arrow_c_stream__"):
        reader: Iterable[pa.RecordBatch] = pa.RecordBatchReader.from_stream(given)
        return reader
    if hasattr(given, "__arrow_c_array__"):
        return [pa.record_batch(given)]
    if hasattr(given, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        return list(from_dataframe(given).to_batches())
    return None
