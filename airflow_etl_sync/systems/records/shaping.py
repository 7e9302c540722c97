"""Pieces of records → record batches in the package's own schema, one column at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.core.columns import ColumnTypes, inferred
from airflow_etl_sync.core.model import LONGEST_NAME_BYTES
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.records.arrays import staged
from airflow_etl_sync.systems.records.kinds import (
    NUMBERS,
    TYPES,
    WORDS,
    Kind,
    array_of,
    kind_of,
    plain,
    text_of,
    together,
)
from airflow_etl_sync.systems.records.pieces import Record

if TYPE_CHECKING:
    import pyarrow as pa

_FLOATS, _INTEGERS = ("real", "double precision"), ("smallint", "integer", "bigint")
_MOST_EXACT = 2**53
"""Up to here every whole number is a float too."""

_TAKES: dict[str, frozenset[Kind]] = {
    **dict.fromkeys((*_INTEGERS, "numeric", *_FLOATS), NUMBERS),
    "boolean": frozenset({"boolean"}),
    "timestamp with time zone": frozenset({"timestamptz"}),
    "timestamp without time zone": frozenset({"timestamp", "date"}),
    "date": frozenset({"date", "timestamp"}),
    "time without time zone": frozenset({"time"}),
    "bytea": frozenset({"bytes"}),
    "uuid": frozenset({"uuid"}),
    **dict.fromkeys(("text", "character varying", "character", "name"), frozenset({"text"})),
}
"""The kinds that go into a column of a type as they are; others go as text, which the type reads or refuses."""

_REFUSES: dict[str, tuple[frozenset[Kind], str]] = {
    "timestamp with time zone": (frozenset({"timestamp", "date"}), "give them a zone (tzinfo)"),
    "timestamp without time zone": (frozenset({"timestamptz"}), "take the zone away (tzinfo), once they are in yours"),
    "date": (frozenset({"timestamptz"}), "take the date, in the zone that you mean"),
    "time without time zone": (frozenset({"timetz"}), "take the zone away"),
    "time with time zone": (frozenset({"time"}), "give them a zone"),
    "bytea": (frozenset(TYPES) - {"bytes"}, "encode them"),
}
"""What PostgreSQL would read by a rule that nobody has asked for, such as a session's time zone."""


_WRITES_ZONE = re.compile(r":\d\d.*([zZ]|[+-]\d\d(:?\d\d){0,2}|UTC|GMT)\s*$")
_WRITTEN_RIGHT: dict[str, tuple[Callable[[str], bool], str]] = {
    "timestamp with time zone": (lambda text: bool(_WRITES_ZONE.search(text)), "a zone at their end"),
    "timestamp without time zone": (lambda text: not _WRITES_ZONE.search(text), "no zone"),
    "time without time zone": (lambda text: not _WRITES_ZONE.search(text), "no zone"),
    "date": (lambda text: ":" not in text, "no time of day"),
}
"""How texts must be written for a type whose input would pass over a zone or a time of day, or make one up."""


class _Values(NamedTuple):
    """A column of a piece as Python values, None among them."""

    values: list[Any]
    kinds: frozenset[Kind]


class Shaper:
    """Makes record batches of pieces, and remembers what it has seen of the stream.

    :param columns: the fields to take; empty takes those of the first record
    :param column_types: the types of columns that the table does not have
    :param types_now: tells the types of the table's columns as it is, without length or precision; an empty one is told
        by the values
    """

    def __init__(
        self,
        columns: Sequence[str],
        column_types: Mapping[str, str],
        types_now: Callable[[], Mapping[str, str]],
    ) -> None:
        self._chosen = bool(columns)
        self._columns = tuple(columns)
        self._column_types = column_types
        self._types_now = types_now
        self._kinds: dict[str, Kind] = {}

    def batch(self, piece: list[Record] | pa.RecordBatch) -> pa.RecordBatch:
        """One batch of a piece. A column in which nothing but None has been seen is left out until its table has it.

        :raises DataError: where records have different fields, or a column holds what makes no type together
        """
        import pyarrow as pa

        read = self._read_records if isinstance(piece, list) else self._read_arrow
        types = self._types_now()
        shaped = [self._column(name, values, types.get(name)) for name, values in read(piece)]
        told = [column for column in shaped if column is not None]
        return pa.RecordBatch.from_arrays([array for _, array in told], schema=pa.schema([field for field, _ in told]))

    def _read_records(self, records: Any) -> list[tuple[str, _Values | pa.Array]]:
        if not self._columns:
            self._columns = tuple(map(_name, records[0]))
        if not self._chosen:
            expected = set(self._columns)
            for record in records:
                if record.keys() != expected:
                    _refuse_other_fields(expected, record.keys())
        columns: list[tuple[str, _Values | pa.Array]] = []
        for name in self._columns:
            values = [plain(name, record.get(name)) for record in records]
            columns.append((name, _Values(values, _kinds_of(values))))
        return columns

    def _read_arrow(self, batch: Any) -> list[tuple[str, _Values | pa.Array]]:
        names = batch.schema.names
        if not self._columns:
            self._columns = tuple(map(_name, names))
        if any(name.startswith("__index_level_") for name in names):
            raise DataError("A pandas table has an index without a name: reset_index(drop=True), or give it one.")
        if len(set(names)) != len(names) or (set(names) != set(self._columns) and not self._chosen):
            _refuse_other_fields(set(self._columns), names)
        missing = [name for name in self._columns if name not in names]
        if missing:
            raise DataError(f"A table of the function has no column {missing[0]!r}, which columns names.")
        return [(name, batch.column(name)) for name in self._columns]

    def _column(self, name: str, given: Any, type_: str | None) -> tuple[pa.Field, pa.Array] | None:
        declared = type_ or self._column_types.get(name)
        if not isinstance(given, _Values):
            natural = staged(name, given)
            if natural is not None and _goes_as_it_is(natural.kind, declared):
                together(name, {natural.kind, self._kinds.get(name, natural.kind)})
                self._kinds[name] = natural.kind
                _refuse_nul(name, natural.array)
                new = declared or natural.type
                return inferred(name, natural.array.type, ColumnTypes(new, natural.type)), natural.array
            values = [plain(name, value) for value in (given if natural is None else natural.array).to_pylist()]
            given = _Values(values, _kinds_of(values))
        return self._by_value(name, given, declared, is_there=type_ is not None)

    def _by_value(
        self, name: str, given: _Values, declared: str | None, *, is_there: bool
    ) -> tuple[pa.Field, pa.Array] | None:
        kind = self._kind(name, given, declared)
        if kind is None and declared is None and not is_there:
            return None
        base = TYPES[kind] if kind else "text"
        array = _array(name, given.values, kind, declared or base)
        _refuse_nul(name, array)
        return inferred(name, array.type, ColumnTypes(declared or base, base)), array

    def _kind(self, name: str, given: _Values, declared: str | None) -> Kind | None:
        """The kind as which a column's values are staged; None stages them as text, or leaves them out."""
        kinds, before = given.kinds, self._kinds.get(name)
        if declared is not None:
            _refuse_unasked(name, kinds, declared)
            taken = _TAKES.get(declared, frozenset())
            if not kinds <= taken:
                return None
            if kinds and kinds <= NUMBERS:
                return _number_kind(given.values, kinds, declared)
            return together(name, kinds) if kinds else None
        if before is not None:
            kinds = kinds | {before}
        if not kinds:
            return None
        stays_float = before == "float" and kinds <= {"integer", "float"} and _fit_floats(given.values, kinds)
        self._kinds[name] = "float" if stays_float else together(name, kinds)
        return self._kinds[name]


def _kinds_of(values: list[Any]) -> frozenset[Kind]:
    types = {type(value) for value in values} - {type(None)}
    if types <= {str} or types <= {float} or types <= {bool}:  # what is most frequent is told by its type alone
        return frozenset(kind_of(type_()) for type_ in types)
    return frozenset(kind_of(value) for value in values if value is not None)


def _goes_as_it_is(kind: Kind, declared: str | None) -> bool:
    """Whether an array need not be looked at value by value. Floats are written out for a type that is exact."""
    if declared is None:
        return True
    is_exact_number = kind == "float" and declared not in _FLOATS
    return kind in _TAKES.get(declared, ()) and not is_exact_number


def _number_kind(values: list[Any], kinds: frozenset[Kind], declared: str) -> Kind:
    """The kind as which numbers go into a column of numbers, so that none is rounded on the way."""
    if declared in _FLOATS and _fit_floats(values, kinds):
        return "float"
    if kinds == {"integer"} or (declared in _INTEGERS and all(map(_is_whole, values))):
        return "integer"
    return "decimal"


def _fit_floats(values: list[Any], kinds: frozenset[Kind]) -> bool:
    are_exact = (abs(value) <= _MOST_EXACT for value in values if isinstance(value, int))
    return kinds <= {"integer", "float"} and all(are_exact)


def _is_whole(value: Any) -> bool:
    """Whether a number is one of ``bigint``; None is no objection."""
    return value is None or (isfinite(value) and value == int(value) and kind_of(int(value)) == "integer")


def _array(column: str, values: list[Any], kind: Kind | None, declared: str) -> pa.Array:
    """The values as an array of the kind, or where there is none as texts for the declared type."""
    import uuid

    import pyarrow as pa

    types = {
        "boolean": pa.bool_(), "integer": pa.int64(), "float": pa.float64(), "bytes": pa.binary(),
        "timestamptz": pa.timestamp("us", "UTC"), "timestamp": pa.timestamp("us"), "date": pa.date32(),
        "time": pa.time64("us"), "uuid": pa.binary(16),
    }  # fmt: skip
    wanted = types.get(kind) if kind else None
    if wanted is None:
        values, wanted = [None if value is None else _text(column, value, declared) for value in values], pa.string()
    elif kind == "integer":
        values = [None if value is None else int(value) for value in values]
    elif kind == "uuid":
        values = [value.bytes if isinstance(value, uuid.UUID) else value for value in values]
    try:
        return pa.array(values, wanted)
    except UnicodeEncodeError:
        raise DataError(f"Column {column!r} holds halves of characters, which no database stores.") from None
    except (pa.ArrowInvalid, OverflowError):
        raise DataError(f"Column {column!r} holds values that {declared} does not hold.") from None


def _text(column: str, value: Any, declared: str) -> str:
    if isinstance(value, str) and declared in _WRITTEN_RIGHT:
        is_right, wanted = _WRITTEN_RIGHT[declared]
        if not is_right(value):
            raise DataError(f"Column {column!r} is {declared}, for which texts must have {wanted}: rewrite them.")
    if declared.endswith("[]"):
        return array_of(column, value)
    return text_of(column, value)


def _refuse_unasked(column: str, kinds: frozenset[Kind], declared: str) -> None:
    refused, advice = _REFUSES.get(declared, (frozenset[Kind](), ""))
    found = sorted(WORDS[kind] for kind in kinds & refused)
    if found:
        raise DataError(f"Column {column!r} is {declared}, and its values are {' and '.join(found)}: {advice}.")


def _refuse_other_fields(expected: set[str], found: Any) -> None:
    different = sorted(map(str, expected ^ {*found})) or sorted(expected)
    raise DataError(
        f"Not every record has the field {different[0]!r} (once each): give all of them the same fields, with None for "
        "what they lack, or list the fields to load in columns, which takes what is missing for None."
    )


def _refuse_nul(column: str, array: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if is_text and pc.any(pc.match_substring(array, "\0")).as_py():
        raise DataError(f"Column {column!r} holds the character NUL, which PostgreSQL does not store: remove it.")


def _name(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise DataError("A record has a field whose name is no text: name its fields by texts that are not empty.")
    if "\0" in key or len(key.encode(errors="replace")) > LONGEST_NAME_BYTES:
        raise DataError(
            f"A field is named {key[:20]!r}…, as no column can be: the name is longer than {LONGEST_NAME_BYTES} "
            "bytes, or holds NUL."
        )
    return key
