"""Rows of a file → record batches: with what is known of their file, and with the lines that hold no row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airflow_etl_sync.core.chunking import PLACE
from airflow_etl_sync.core.columns import ColumnTypes, inferred, noted
from airflow_etl_sync.core.files import MODIFIED, NAME, ROW
from airflow_etl_sync.core.unread import Unread, unread_field
from airflow_etl_sync.systems.base import Position
from airflow_etl_sync.systems.files.pieces import BadLine
from airflow_etl_sync.systems.files.place import FoundFile
from airflow_etl_sync.systems.files.reading import Rows

if TYPE_CHECKING:
    import pyarrow as pa

TYPES_OF_FILE = {MODIFIED: "timestamp with time zone", NAME: "text", ROW: "bigint"}


def batch_of(
    file: FoundFile, cursor: str, rows: Rows, declared: Mapping[str, str], of_file: Sequence[str]
) -> pa.RecordBatch:
    """A batch of all rows and, behind them, all lines that hold none; it knows where in its file it stands.

    :param cursor: the file's, as text
    :param declared: the types that the author gives
    :param of_file: the columns about the file that every row gets
    """
    import pyarrow as pa

    rows = _without_miswritten(rows)
    fields, arrays = [], []
    for name, array in rows.columns.items():
        type_ = declared.get(name) or rows.types[name]
        types = ColumnTypes(type_, type_ if rows.are_texts else rows.types[name])
        note = inferred if rows.are_texts or name in declared else noted
        fields.append(note(name, array.type, types))
        arrays.append(_longer(array, len(rows.bad)))
    for name in of_file:
        array = _about(file, name, [*rows.numbers, *(line.number for line in rows.bad)])
        fields.append(noted(name, array.type, ColumnTypes(TYPES_OF_FILE[name], TYPES_OF_FILE[name])))
        arrays.append(array)
    if rows.are_texts:
        unread = [
            Unread(place=f"{file.name}, line {each.number}", reason=each.reason, text=each.text) for each in rows.bad
        ]
        fields.append(unread_field())
        arrays.append(pa.array([None] * len(rows.numbers) + [each.to_text() for each in unread], pa.string()))
    place = {"file": file.name, "cursor": cursor, "begin": rows.begin - arrays[0].offset}
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, {PLACE: json.dumps(place).encode()}))


def position_in(batch: pa.RecordBatch) -> Position:
    """How many rows of its file have been given at the end of a batch of :func:`batch_of`, or of a slice of one."""
    place: dict[str, Any] = json.loads(batch.schema.metadata[PLACE])
    begin = place.pop("begin")
    return {**place, "rows": begin + batch.column(0).offset + batch.num_rows}


def _longer(array: pa.Array, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays([array, pa.nulls(count, array.type)]) if count else array


def _about(file: FoundFile, name: str, numbers: list[int]) -> pa.Array:
    import pyarrow as pa

    if name == ROW:
        return pa.array(numbers, pa.int64())
    value = pa.scalar(file.modified, pa.timestamp("us", "UTC")) if name == MODIFIED else pa.scalar(file.name)
    return pa.repeat(value, len(numbers))


class _Writing(NamedTuple):
    """How values of a type must be written, so that the database makes up or passes over no part of one."""

    pattern: str
    must: Literal["match", "not match"]
    reason: str


_ZONE = r":\d\d.*([zZ]|[+-]\d\d(:?\d\d){0,2}|UTC|GMT)\s*$"
_WRITINGS = {
    "timestamp with time zone": _Writing(_ZONE + "|^-?infinity$", "match", "a time without a zone"),
    "timestamp without time zone": _Writing(_ZONE, "not match", "a time with a zone, and its type has none"),
    "date": _Writing(":", "not match", "a time of day, and its type has none"),
}
_SHORT = {"timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone"}


def _without_miswritten(rows: Rows) -> Rows:
    """The rows without those that have a time written in a way that their column's type does not take as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (rows.are_texts and rows.numbers):
        return rows
    reasons: dict[int, str] = {}
    for name, array in rows.columns.items():
        writing = _WRITINGS.get(_SHORT.get(rows.types[name], rows.types[name]))
        if writing is not None:
            matches = pc.match_substring_regex(array, writing.pattern)
            is_wrong = pc.fill_null(pc.invert(matches) if writing.must == "match" else matches, False)  # noqa: FBT003
            if pc.any(is_wrong).as_py():
                reasons |= dict.fromkeys(pc.indices_nonzero(is_wrong).to_pylist(), f"{name} is {writing.reason}")
    if not reasons:
        return rows
    bad = [BadLine(rows.numbers[row], reason, _as_json(rows, row)) for row, reason in sorted(reasons.items())]
    kept = pa.array([row for row in range(len(rows.numbers)) if row not in reasons], pa.int64())
    columns = {name: array.take(kept) for name, array in rows.columns.items()}
    return replace(
        rows, columns=columns, numbers=[rows.numbers[row] for row in kept.to_pylist()], bad=[*rows.bad, *bad]
    )


def _as_json(rows: Rows, row: int) -> str:
    return json.dumps({name: array[row].as_py() for name, array in rows.columns.items()}, ensure_ascii=False)
