"""In which parts and in which order a window is read, so that reading can go on behind any row: for any database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.base import Position

if TYPE_CHECKING:
    import pyarrow as pa

Part = Literal["all", "transactions", "nulls", "window"]

_PART = b"etl_sync.part"


def parts_of(window: Window, stream: Stream, *, is_cursor_never_null: bool) -> list[Part]:
    """The statements that a window is read by, in order; one of them is for rows without a cursor, which none holds.

    They are read first. Where the two do not share a snapshot, a row that gets a cursor in between comes twice, and
    one that loses it is read by the next run.
    """
    if window.is_unbounded:
        return ["all"]
    is_complete = window.below is not None or is_cursor_never_null
    return ["window"] if is_complete or stream.on_cursor_null != "include" else ["nulls", "window"]


def parts_left(parts: Sequence[Part], after: Position | None) -> list[Part]:
    """Those parts that are not read to their end yet."""
    return list(parts[parts.index(after["part"]) :] if after and after["part"] in parts else parts)


def order_of(part: Part, primary_key: Sequence[str], cursor_field: str, *, is_key_unique: bool) -> list[str]:
    """The columns that a part is ordered by.

    A window goes by the cursor, everything else by the key, which is always indexed. Where it is not unique, the
    latest row of a key comes last, in whichever chunk.
    """
    names = [*primary_key]
    if part == "window":
        names.insert(0, cursor_field)
    elif not is_key_unique:
        names.append(cursor_field)
    return list(dict.fromkeys(names))


def values_behind(part: Part, after: Position | None) -> Sequence[str] | None:
    """The values in a part's order behind which its reading goes on; None where it begins with the first row."""
    if after is None or after["part"] != part or None in after["values"]:
        return None
    values: Sequence[str] = after["values"]
    return values


def marked(batch: pa.RecordBatch, part: Part) -> pa.RecordBatch:
    """A batch that knows which part it is of, so that its position can be told."""
    return batch.replace_schema_metadata({_PART: part.encode()})


def part_of(batch: pa.RecordBatch) -> Part:
    """The part that a batch of :func:`marked` is of."""
    part: Part = (batch.schema.metadata or {})[_PART].decode()
    return part


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """A batch without rows: it carries the schema."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def refuse_missing_columns(stream: Stream, needed: Iterable[str], known: Sequence[str]) -> None:
    """Stop where a stream lacks a column that it is read by, or has two of one name.

    :raises SchemaError: naming the first
    """
    missing = [name for name in dict.fromkeys(needed) if name not in known]
    if missing:
        raise SchemaError(
            f"{stream.sync_key!r} has no column {missing[0]!r} to use as cursor or key; it has {', '.join(known)}."
        )
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise SchemaError(f"The query of {stream.sync_key!r} gives the column {twice!r} twice: rename one with AS.")


def refuse_missing_table(stream: Stream, *, is_there: bool) -> None:
    """:raises SchemaError: where the stream is of a table that is not there"""
    if stream.table is not None and not is_there:
        raise SchemaError(f"The source has no table {str(stream.table)!r}, or this login may not see its schema.")


def refuse_missing_key(stream: Stream, key: Sequence[str]) -> None:
    """:raises ConfigurationError: where neither the table nor the author names a key"""
    if not key:
        raise ConfigurationError(
            f"{stream.sync_key!r} has no primary key to tell its records apart: set primary_key to columns that do."
        )


def unfit_cursor(name: str, declared: str) -> ConfigurationError:
    """What is said of a cursor whose type does not grow."""
    return ConfigurationError(
        f"The cursor {name!r} has type {declared}, which cannot be a cursor: use a column of a "
        "date, timestamp, integer, numeric or text type that grows when a record changes."
    )


NULL_CURSORS = (
    "Rows of {sync_key!r} have no value in {cursor_field!r} and on_cursor_null is 'raise': mend them, or choose "
    "'include' or 'exclude'."
)
