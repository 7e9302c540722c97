"""What a transform gave for a piece → the batch to stage: each column with the type that it lands with.

A column that keeps its name and its kind of values keeps what the source has declared. Others are told from their
values, as those of records are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import is_inferred, passed
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.postgres.times import encoded, is_encoded
from airflow_etl_sync.systems.records.arrays import decoded
from airflow_etl_sync.systems.records.shaping import Shaper

if TYPE_CHECKING:
    import pyarrow as pa


class Passing:
    """Finishes the pieces of one chunk, all in the schema of the first.

    :param given: the schema of the chunk as it is staged
    :param required: the columns that must come through
    :param types_now: tells the types of the table's columns, without length or precision
    """

    def __init__(self, given: pa.Schema, required: Sequence[str], types_now: Callable[[], Mapping[str, str]]) -> None:
        self._given = given
        self._required = [name for name in required if name in given.names]
        self._shaper = Shaper((), {}, types_now)
        self._schema: pa.Schema | None = None
        self._kept: frozenset[str] = frozenset()

    def finish(self, piece: pa.Table, made: pa.Table) -> pa.RecordBatch:
        """The rows to stage.

        :param piece: what the transform was given
        :raises ConfigurationError: where a column is missing, or none can be made of it
        :raises DataError: where a value is none of its column's type
        """
        import pyarrow as pa

        self._refuse_missing(made.column_names)
        if self._schema is None:
            self._kept = frozenset(field.name for field in made.schema if _is_kept(field, piece.schema))
        columns = {name: self._keep(name, made, piece) for name in made.column_names if name in self._kept}
        columns |= self._shape(made.select([name for name in made.column_names if name not in self._kept]))
        untyped = [name for name in made.column_names if name not in columns]
        if untyped:
            kind = ConfigurationError if made.num_rows else DataError  # without rows nothing is said of those to come
            raise kind(f"The transform gives no type for its column {untyped[0]!r}: cast it to one.")
        fields = [columns[name][0] for name in made.column_names]
        batch = pa.RecordBatch.from_arrays([columns[field.name][1] for field in fields], schema=pa.schema(fields))
        if self._schema is None:
            self._schema = batch.schema
        return _alike(batch, self._schema)

    def _refuse_missing(self, names: list[str]) -> None:
        missing = [name for name in self._required if name not in names]
        if missing:
            raise ConfigurationError(
                f"The transform leaves out {missing[0]!r}: the columns {', '.join(self._required)} must come through, "
                "as rows are told apart and put in order by them."
            )
        added = [] if self._schema is None else sorted({*names} ^ {*self._schema.names})
        if added:
            raise ConfigurationError(f"The transform gives the column {added[0]!r} for some rows only: give it always.")

    def _keep(self, name: str, made: pa.Table, piece: pa.Table) -> tuple[pa.Field, pa.Array]:
        """A column as the source declares it."""
        import pyarrow as pa

        field, array = self._given.field(name), _whole(made.column(name))
        try:
            array = array.cast(piece.schema.field(name).type)
        except pa.ArrowInvalid:
            raise DataError(f"The transform gives values for column {name!r} that are none of its type.") from None
        if pa.types.is_temporal(array.type):
            array = encoded(name, array, is_encoded=is_encoded(field))
        return passed(field), array

    def _shape(self, made: pa.Table) -> dict[str, tuple[pa.Field, pa.Array]]:
        """Columns that are new, or of another kind than they were."""
        import pyarrow as pa

        if not made.num_columns:
            return {}
        arrays = [_whole(column) for column in made.columns]
        batch = self._shaper.batch(pa.RecordBatch.from_arrays(arrays, names=made.column_names))
        return {field.name: (field, batch.column(field.name)) for field in batch.schema}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    is_coded = pa.types.is_dictionary(column.type)
    chunks = [decoded(chunk) if is_coded else chunk for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def _is_kept(field: pa.Field, given: pa.Schema) -> bool:
    """Whether a column has the name and the kind of values of one that the transform was given."""
    import pyarrow as pa

    if field.name not in given.names:
        return False
    before = given.field(field.name)
    if is_inferred(field):  # a transform of this package says that it made the values anew
        return is_inferred(before)
    if pa.types.is_null(field.type) or field.type == before.type:
        return True
    kind, width = _kind(field.type)
    former, former_width = _kind(before.type)
    return kind is not None and kind == former and width <= former_width


def _kind(type_: pa.DataType) -> tuple[str | None, int]:
    """The kind of values of an Arrow type, and how wide they are where wider ones do not fit."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(type_):
        return _kind(type_.value_type)
    if is_.is_signed_integer(type_):
        return "integer", type_.bit_width
    if is_.is_floating(type_):
        return "float", type_.bit_width
    if is_.is_timestamp(type_):
        return ("timestamp" if type_.tz is None else "timestamptz"), 0
    tests = {
        "text": (is_.is_string, is_.is_large_string, is_.is_string_view),
        "bytes": (is_.is_binary, is_.is_large_binary, is_.is_binary_view, is_.is_fixed_size_binary),
        "date": (is_.is_date,),
        "time": (is_.is_time,),
    }
    return next((kind for kind, found in tests.items() if any(test(type_) for test in found)), None), 0


def _alike(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the schema of the first piece."""
    import pyarrow as pa

    batch = batch.select(schema.names)
    if batch.schema.types == schema.types:
        return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    arrays = []
    for field, array in zip(schema, batch.columns, strict=True):
        try:
            arrays.append(array.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"The transform gives {array.type} for column {field.name!r} in some rows and {field.type} in others: "
                "cast it to one type."
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
