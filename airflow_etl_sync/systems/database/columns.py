"""The columns of a stream: what they are at the source, how their values travel, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from airflow_etl_sync.core.columns import ColumnTypes, inferred, noted
from airflow_etl_sync.core.model import CursorType
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.database import moments

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal[
    "smallint", "integer", "bigint", "numeric", "real", "double", "boolean", "text", "bytes", "date", "timestamp",
    "timestamptz", "time", "interval", "bits", "uuid",
]  # fmt: skip

CURSOR_TYPES: dict[Kind, CursorType] = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "numeric",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "text": "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseColumn:
    """A column of a stream.

    :param declared: its type in the source's own words
    :param kind: how its values travel
    :param type: PostgreSQL's type that holds every value of it, as ``format_type`` writes it
    :param form: as what it is selected and compared, where not as it is: ``double`` tells single floats exactly,
        ``words`` puts in order by its text what the source would order by number
    :param is_loosely_written: whether one value can be written in several ways, so that the source, which compares
        them as texts, finds equal ones unequal
    """

    name: str
    declared: str
    kind: Kind
    type: str
    form: Literal["plain", "double", "words"] = "plain"
    is_loosely_written: bool = False
    is_told: bool = False

    @property
    def cursor_type(self) -> CursorType | None:
        """As what the column grows; None where it is no cursor."""
        return CURSOR_TYPES.get(self.kind) if self.form == "plain" else None

    def field(self) -> pa.Field:
        """The column in an Arrow schema."""
        types = ColumnTypes(self.type, self.type)
        return (inferred if self.is_told else noted)(self.name, _arrow_type(self.kind), types)

    def array(self, values: Sequence[Any]) -> pa.Array:
        """Values as the driver gives them, exactly.

        :raises DataError: where one of them is none of the column's type, or cannot be kept
        """
        import pyarrow as pa

        carrier = _CARRIERS[self.kind]
        if not carrier.takes.issuperset(map(type, values)):
            raise DataError(f"Column {self.name!r} is {self.declared} and holds values of another type: {_ADVICE}.")
        try:
            if carrier.convert is not None:
                convert = carrier.convert
                values = [None if value is None else convert(self, value) for value in values]
            array = pa.array(values, _arrow_type(self.kind))
        except (ValueError, OverflowError, ArithmeticError, pa.ArrowException):
            raise DataError(
                f"Column {self.name!r} is {self.declared} and holds values that its type has none for, such as dates "
                f"that no calendar has (0000-00-00): {_ADVICE}."
            ) from None
        if self.kind == "text":
            refuse_nul(self.name, array)
        return array

    def value(self, text: str) -> Any:
        """The value that a text of :func:`written` stands for, as the driver takes it.

        :raises ValueError: where it stands for none
        """
        return _READERS[self.kind](text)


def written(scalar: pa.Scalar) -> str | None:
    """A value of an array as a text; None stands for NULL."""
    value = scalar.as_py()
    if isinstance(value, date):
        return moments.written(value)
    return value.hex() if isinstance(value, bytes) else None if value is None else str(value)


def canonical(column: DatabaseColumn, name: str, text: str) -> str:
    """A cursor value that a person wrote for an argument, as a watermark keeps it.

    :raises ConfigurationError: where it is none of the column's type
    """
    try:
        value = column.value(text)
    except (ValueError, ArithmeticError):
        raise ConfigurationError(f"{name} is not a value of the cursor's type, {column.declared}.") from None
    return moments.written(value) if isinstance(value, date) else str(value)


def refuse_nul(column: str, array: pa.Array) -> None:
    """:raises DataError: where a text holds NUL"""
    import pyarrow.compute as pc

    if pc.any(pc.match_substring(array, "\0")).as_py():
        raise DataError(f"Column {column!r} holds the character NUL, which PostgreSQL does not store: remove it.")


_ADVICE = "mend them, leave the column out (columns), or read a query (sql) that converts them"


class _Carrier(NamedTuple):
    """How values of a kind travel.

    :param arrow: the name of their Arrow type
    :param takes: the types that the driver may give them in
    :param convert: makes of such a value what the Arrow type takes; None where that is the value itself
    """

    arrow: str
    takes: frozenset[type]
    convert: Callable[[DatabaseColumn, Any], Any] | None = None


def _takes(*types: type) -> frozenset[type]:
    return frozenset({*types, type(None)})


def _number_text(_: DatabaseColumn, value: Any) -> str:
    return str(value) if isinstance(value, (int, Decimal)) else str(Decimal(str(value)))


def _truth(_: DatabaseColumn, value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError("neither 0 nor 1")
    return bool(value)


def _plain_text(_: DatabaseColumn, value: Any) -> str:
    return str(value)


def _day(_: DatabaseColumn, value: date | str) -> date:
    if isinstance(value, str):
        return moments.parse_day(value)
    if isinstance(value, datetime):
        if value.time() != time():
            raise ValueError("a time of day")
        return value.date()
    return value


def _moment(_: DatabaseColumn, value: Any) -> datetime:
    found = moments.parse(value) if isinstance(value, str) else value
    if found.tzinfo is not None:
        raise ValueError("a zone, where the column has none")
    return found


def _instant(_: DatabaseColumn, value: Any) -> datetime:
    found = moments.parse(value) if isinstance(value, str) else value
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


def _duration(_: DatabaseColumn, value: timedelta) -> str:
    sign, whole = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(whole.days * 86_400 + whole.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{whole.microseconds:06d}" if whole.microseconds else ""
    return f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


def _bits(column: DatabaseColumn, value: bytes) -> str:
    width = int(column.type.removeprefix("bit(").removesuffix(")"))
    return f"{int.from_bytes(value, 'big'):0{width}b}"


_CARRIERS: dict[Kind, _Carrier] = {
    "smallint": _Carrier("int16", _takes(int)),
    "integer": _Carrier("int32", _takes(int)),
    "bigint": _Carrier("int64", _takes(int)),
    "numeric": _Carrier("string", _takes(int, float, Decimal), _number_text),
    "real": _Carrier("float32", _takes(float, int)),
    "double": _Carrier("float64", _takes(float, int)),
    "boolean": _Carrier("bool_", _takes(bool, int), _truth),
    "text": _Carrier("string", _takes(str)),
    "bytes": _Carrier("binary", _takes(bytes, bytearray, memoryview)),
    "date": _Carrier("date32", _takes(date, datetime, str), _day),
    "timestamp": _Carrier("timestamp", _takes(datetime, str), _moment),
    "timestamptz": _Carrier("timestamptz", _takes(datetime, str), _instant),
    "time": _Carrier("time64", _takes(time)),
    "interval": _Carrier("string", _takes(timedelta), _duration),
    "bits": _Carrier("string", _takes(bytes), _bits),
    "uuid": _Carrier("string", _takes(str, UUID), _plain_text),
}


def _arrow_type(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    name = _CARRIERS[kind].arrow
    temporal = {"timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"), "time64": pa.time64("us")}
    return temporal[name] if name in temporal else getattr(pa, name)()


def _read_number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError("not finite")
    return number


_READERS: dict[Kind, Callable[[str], Any]] = {
    "smallint": int,
    "integer": int,
    "bigint": int,
    "numeric": _read_number,
    "real": float,
    "double": float,
    "boolean": lambda text: text == "True",
    "text": str,
    "bytes": bytes.fromhex,
    "date": moments.parse_day,
    "timestamp": moments.parse_naive,
    "timestamptz": moments.parse_instant,
    "time": time.fromisoformat,
    "interval": str,
    "bits": lambda text: int(text, 2),
    "uuid": str,
}
