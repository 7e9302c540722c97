"""Which types cross as they are, which as text, and how each lands on the other side.

The allow-list is measured: the types on it come back exactly from ADBC out, Parquet, ADBC in. Everything
else is selected as text, which PostgreSQL itself reads back exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.core.model import CursorType
from airflow_etl_sync.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_TYPES = frozenset(
    "int2 int4 int8 float4 float8 bool text varchar bpchar name uuid bytea json jsonb numeric "
    "date time timestamp timestamptz".split()
)
CURSOR_TYPES: dict[str, CursorType] = {
    "timestamptz": "timestamptz",
    "timestamp": "timestamp",
    "date": "date",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "numeric": "numeric",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
}

PLAIN = {
    "bool": "boolean", "bytea": "bytea", "date": "date", "float4": "real", "float8": "double precision",
    "int2": "smallint", "int4": "integer", "int8": "bigint", "time": "time without time zone",
    "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "uuid": "uuid",
}  # fmt: skip
"""Types that are staged as what they are, however rows come."""

_ELEMENTS = {**PLAIN, "jsonb": "jsonb", "numeric": "numeric", "text": "text", "varchar": "character varying"}
OWN = {"jsonb": "jsonb", "numeric": "numeric"} | {f"_{base}": f"{name}[]" for base, name in _ELEMENTS.items()}
"""Types that Arrow has no like of, but that are staged as what they are where rows come packed by PostgreSQL."""

STAGED_PACKED = frozenset(["text", *PLAIN.values(), *OWN.values()])

ENCODING = b"etl_sync.encoding"
_STAGED_AS = b"etl_sync.staged_as"
EPOCH = b"postgres_epoch"
_OWN = b"postgres_own"
ENCODINGS = frozenset(
    [
        *(EPOCH + b":" + base for base in (b"date", b"timestamp", b"timestamptz")),
        *(_OWN + b":" + name.encode() for name in OWN.values()),
    ]
)

# PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01. ADBC adds the difference without looking, so
# infinity and the farthest years come out wrapped around, below anything that a date of PostgreSQL can be.
_EPOCH_DAYS = 10_957
_EPOCH_MICROS = _EPOCH_DAYS * 86_400_000_000
FIRST_DAY = _EPOCH_DAYS - 2_451_545  # Julian day 0, the first day of PostgreSQL's calendar
FIRST_MICRO = FIRST_DAY * 86_400_000_000


@dataclass(frozen=True, slots=True)
class StreamColumn:
    """A column of a stream.

    :param type: its declared type, as ``format_type`` writes it
    :param plain_type: the same without length or precision, fit for a cast
    :param base_type: the name of the built-in type below any domain, or "enum", or ""
    :param fallback_type: what a database without this type uses in its place
    """

    name: str
    type: str
    plain_type: str
    base_type: str
    fallback_type: str

    @property
    def is_exact(self) -> bool:
        return self.base_type in EXACT_TYPES


def normalised(batch: pa.RecordBatch, columns: Sequence[StreamColumn]) -> pa.RecordBatch:
    """A batch as ADBC gave it, in the package's own schema: plain Arrow types, declared types noted.

    A temporal column that holds a value which Arrow cannot tell becomes PostgreSQL's own integer, see
    :func:`staging_expression`.
    """
    import pyarrow as pa

    arrays, fields = [], []
    for column, read in zip(columns, batch.columns, strict=True):
        array = read.storage if isinstance(read, pa.ExtensionArray) else read
        notes = {}
        if _is_wrapped(array):
            notes[ENCODING] = EPOCH + b":" + column.base_type.encode()
            array = postgres_integers(array)
        arrays.append(array)
        types = ColumnTypes(column.type, column.fallback_type)
        fields.append(noted(column.name, array.type, types, notes))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def with_whole_times(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of :func:`normalised` with every date and timestamp as PostgreSQL's own integer.

    So all batches of a stream have one schema, whichever of them hold values that Arrow cannot tell.
    """
    import pyarrow as pa

    arrays, fields = [], []
    for array, field in zip(batch.columns, batch.schema, strict=True):
        base = _time_base(field.type)
        whole = array if base is None else postgres_integers(array)
        notes = field.metadata if base is None else {**field.metadata, ENCODING: EPOCH + b":" + base}
        arrays.append(whole)
        fields.append(pa.field(field.name, whole.type, metadata=notes))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _time_base(kind: pa.DataType) -> bytes | None:
    import pyarrow as pa

    if pa.types.is_date32(kind):
        return b"date"
    if not pa.types.is_timestamp(kind):
        return None
    return b"timestamp" if kind.tz is None else b"timestamptz"


def _is_wrapped(array: pa.Array) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(array.type):
        first, integer = FIRST_MICRO, pa.int64()
    elif pa.types.is_date32(array.type):
        first, integer = FIRST_DAY, pa.int32()
    else:
        return False
    smallest = pc.min(array.view(integer)).as_py()
    return smallest is not None and smallest < first


def postgres_integers(array: pa.Array) -> pa.Array:
    """Undo ADBC's addition; both wrap around, so every value comes back."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date32(array.type):
        return pc.subtract(array.view(pa.int32()), pa.scalar(_EPOCH_DAYS, pa.int32()))
    return pc.subtract(array.view(pa.int64()), pa.scalar(_EPOCH_MICROS, pa.int64()))


def unix_integers(array: pa.Array) -> pa.Array:
    """PostgreSQL's own integers as Arrow counts; both wrap around."""
    import pyarrow as pa
    import pyarrow.compute as pc

    difference = _EPOCH_DAYS if array.type == pa.int32() else _EPOCH_MICROS
    return pc.add(array, pa.scalar(difference, array.type))


def encoding_of(field: pa.Field) -> str | None:
    """In which way a staged column holds its values; None where it is what it is.

    A date or time is staged as an integer, see :func:`normalised`; a type of :data:`OWN` as that type.

    :raises SchemaError: for an encoding that no source of this package gives
    """
    encoding = (field.metadata or {}).get(ENCODING)
    if encoding is None:
        return None
    if encoding not in ENCODINGS:
        raise SchemaError(f"Column {field.name!r} comes in an encoding that this package does not know.")
    return str(encoding.decode().partition(":")[2])


def own_encoding(base_type: str, staged_as: str) -> dict[bytes, bytes]:
    """What is noted on a field whose values are staged as PostgreSQL has them, see :data:`OWN`."""
    own = {ENCODING: _OWN + b":" + staged_as.encode()} if OWN.get(base_type) == staged_as else {}
    return {_STAGED_AS: staged_as.encode(), **own}


def staging_type(field: pa.Field) -> str:
    """The column type of a staging table into which ADBC's binary COPY can write this field.

    :raises SchemaError: for an Arrow type that no source of this package gives
    """
    import pyarrow as pa

    kind = field.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return "uuid"
    told = (field.metadata or {}).get(_STAGED_AS, b"").decode(errors="replace")
    if kind == pa.null() and told in STAGED_PACKED:
        return str(told)
    names = {
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float32(): "real",
        pa.float64(): "double precision",
        pa.bool_(): "boolean",
        pa.string(): "text",
        pa.large_string(): "text",
        pa.binary(): "bytea",
        pa.large_binary(): "bytea",
        pa.date32(): "date",
        pa.time64("us"): "time",
        pa.timestamp("us"): "timestamp",
    }
    if pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit == "us":
        return "timestamp with time zone"
    if kind not in names:
        raise SchemaError(f"Column {field.name!r} has the Arrow type {kind}, which has no staging type.")
    return names[kind]


def array_element(text: str) -> str:
    """A text as an element of an array that PostgreSQL reads."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def position_text(scalar: pa.Scalar, encoding: bytes | None = None) -> str | None:
    """A key's or cursor's value as text that PostgreSQL reads back as the same value.

    None stands for NULL, and for dates that Python cannot write.

    :param encoding: how the column is written where not as its type says, see :func:`normalised`
    """
    import uuid

    import pyarrow as pa

    kind = scalar.type
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError):
        value = None
    if value is None:
        return None
    if encoding is not None:
        return time_text(value, encoding.removeprefix(EPOCH + b":").decode())
    if pa.types.is_fixed_size_binary(kind):
        return str(uuid.UUID(bytes=value))
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if pa.types.is_temporal(kind):
        return str(value.isoformat())
    return str(value)


def time_text(value: int, base_type: str) -> str | None:
    """PostgreSQL's own integer as the date or time it stands for; None where Python cannot write it."""
    if base_type == "time":
        minutes, micros = divmod(value, 60_000_000)
        return f"{minutes // 60:02}:{minutes % 60:02}:{micros / 1_000_000:09.6f}"
    is_date = base_type == "date"
    farthest = 2**31 if is_date else 2**63
    if value in (-farthest, farthest - 1):
        return "infinity" if value > 0 else "-infinity"
    try:
        if is_date:
            return (date(2000, 1, 1) + timedelta(days=value)).isoformat()
        zone = timezone.utc if base_type == "timestamptz" else None
        return (datetime(2000, 1, 1, tzinfo=zone) + timedelta(microseconds=value)).isoformat()
    except OverflowError:
        return None
