"""Records of JSON → columns: of types that the author gives, or that the first records tell.

A value that is of another kind than its column goes as a text, and the table's type takes it or refuses its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.columns import ColumnTypes, inferred
from airflow_etl_sync.core.model import LONGEST_NAME_BYTES
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind, refuse_nul
from airflow_etl_sync.systems.http.values import CONVERTERS, MOMENT, json_text, words

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, Any]
_SEPARATOR = "__"
_MOST_OF_BIGINT = 2**63

_DECLARED = re.compile(r"(?P<name>[a-z0-9 ]+?)\s*(?P<limits>\(\s*\d+\s*(?:,\s*\d+\s*)?\))?", re.IGNORECASE)
_KINDS: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(("smallint", "int2"), ("smallint", "smallint")),
    **dict.fromkeys(("integer", "int", "int4"), ("integer", "integer")),
    **dict.fromkeys(("bigint", "int8"), ("bigint", "bigint")),
    **dict.fromkeys(("numeric", "decimal"), ("numeric", "numeric")),
    **dict.fromkeys(("double precision", "float8"), ("double", "double precision")),
    **dict.fromkeys(("boolean", "bool"), ("boolean", "boolean")),
    **dict.fromkeys(("character varying", "varchar"), ("text", "character varying")),
    "text": ("text", "text"),
    "date": ("date", "date"),
    **dict.fromkeys(("timestamp", "timestamp without time zone"), ("timestamp", "timestamp without time zone")),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), ("timestamptz", "timestamp with time zone")),
    "uuid": ("uuid", "uuid"),
    "jsonb": ("text", "jsonb"),
    "json": ("text", "json"),
}
"""By name of a type, how its values travel, and its name as PostgreSQL writes it."""

_TOLD_KINDS: dict[type, str] = {bool: "boolean", str: "text", dict: "jsonb", list: "jsonb", Decimal: "numeric"}


def declared_column(name: str, type_: str) -> DatabaseColumn:
    """A column of a type that the author gives.

    :raises ConfigurationError: where that is none that is known here
    """
    match = _DECLARED.fullmatch(type_.strip())
    known = _KINDS.get(re.sub(r"\s+", " ", match["name"].lower())) if match else None
    limits = re.sub(r"\s", "", match["limits"] or "") if match else ""
    if known is None or (limits and known[1] not in ("numeric", "character varying")):
        raise ConfigurationError(
            f"endpoint.column_types gives {name!r} the type {type_!r}, which is not known here: use one of "
            f"{', '.join(sorted(_KINDS))}."
        )
    kind, canonical = known
    if canonical == "character varying" and not limits:
        canonical = "text"
    return DatabaseColumn(name=name, declared=canonical + limits, kind=kind, type=canonical + limits, is_told=True)


def told_column(name: str, values: Iterable[Any], *, is_cursor: bool = False) -> DatabaseColumn | None:
    """The column that values make: numbers exact, lists and mappings ``jsonb``, what is mixed ``text``.

    :param is_cursor: whether texts that are times make a column of times, by which alone a window can go
    :returns: None where there are no values
    """
    given = [value for value in values if value is not None]
    types = {_told_type(value) for value in given}
    if not types:
        return None
    type_ = types.pop() if len(types) == 1 else "numeric" if types == {"bigint", "numeric"} else "text"
    if is_cursor and type_ == "text":
        type_ = _moment_type(given) or type_
    return declared_column(name, type_)


def _told_type(value: Any) -> str:
    if type(value) is int:
        return "bigint" if -_MOST_OF_BIGINT <= value < _MOST_OF_BIGINT else "numeric"
    return _TOLD_KINDS[type(value)]


def _moment_type(texts: Sequence[Any]) -> str | None:
    try:
        moments_ = [moments.parse(text) for text in texts if isinstance(text, str)]
    except ValueError:
        return None
    if len(moments_) < len(texts):
        return None
    if not any(MOMENT.match(text) for text in texts):
        return "date"
    zones = {moment.tzinfo is not None for moment in moments_}
    return None if len(zones) > 1 else "timestamptz" if zones == {True} else "timestamp"


class Columns:
    """The columns of a stream, as far as its records have told them.

    :param chosen: those to read, in order; empty takes whatever the records have
    :param declared: the types that the author gives, by name
    :param cursor_field: the column that a window goes by
    """

    def __init__(self, chosen: Sequence[str], declared: Iterable[tuple[str, str]], cursor_field: str) -> None:
        self._chosen = tuple(chosen)
        self._cursor_field = cursor_field
        self._known = {name: declared_column(name, type_) for name, type_ in declared}
        self._declared = frozenset(self._known)
        self._names = list(self._chosen)
        strange = sorted(self._declared - set(chosen)) if chosen else []
        if strange:
            raise ConfigurationError(f"endpoint.column_types names {strange[0]!r}, which columns does not.")

    def get(self, name: str) -> DatabaseColumn | None:
        return self._known.get(name)

    def take(self, column: DatabaseColumn) -> None:
        """Let a column be of that type from now on."""
        self._known[column.name] = column

    @property
    def known(self) -> tuple[DatabaseColumn, ...]:
        """Those whose type is known, in the order of the records."""
        names = [*self._names, *(name for name in self._known if name not in self._names)]
        return tuple(self._known[name] for name in names if name in self._known)

    def tell(self, records: Sequence[Record]) -> None:
        """Learn of columns, and of their types, from records."""
        if not self._chosen:
            known = dict.fromkeys(self._names)
            for record in records:
                known.update(dict.fromkeys(record))
            self._names = [_storable(name) for name in known]
        for name in self._names:
            if name in self._declared:
                continue
            told = told_column(name, (record.get(name) for record in records), is_cursor=name == self._cursor_field)
            before = self._known.get(name)
            if told is not None and (before is None or (name != self._cursor_field and _is_wider(before, told))):
                self._known[name] = told

    def batch(self, records: Sequence[Record]) -> pa.RecordBatch:
        """A batch of the records, with the columns that are known by now.

        :raises DataError: where times have a zone and their column none, or the other way round
        """
        import pyarrow as pa

        self.tell(records)
        columns = self.known
        shaped = [_array(column, [record.get(column.name) for record in records]) for column in columns]
        return pa.RecordBatch.from_arrays(
            [array for _, array in shaped], schema=pa.schema([field for field, _ in shaped])
        )


def flattened(record: Record, before: str = "") -> dict[str, Any]:
    """A record whose mappings are columns: ``{"a": {"b": 1}}`` is ``{"a__b": 1}``.

    :raises DataError: where two fields become one
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        inside = flattened(value, f"{before}{name}{_SEPARATOR}") if isinstance(value, dict) and value else None
        for column, each in (inside or {before + name: None if value == {} else value}).items():
            if column in flat:
                raise DataError(f"Two fields of a record become column {column!r}: leave out flatten.")
            flat[column] = each
    return flat


def _is_wider(before: DatabaseColumn, now: DatabaseColumn) -> bool:
    """Whether fractions have come to whole numbers; otherwise a column stays what it was."""
    return (before.type, now.type) == ("bigint", "numeric")


def _array(column: DatabaseColumn, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    if column.type in ("json", "jsonb"):
        return _text_array(column, [None if value is None else json_text(value) for value in values], column.type)
    convert = CONVERTERS[column.kind]
    try:
        converted = [None if value is None else convert(column, value) for value in values]
    except (ValueError, OverflowError, InvalidOperation):
        return _text_array(column, [None if value is None else words(value) for value in values], "text")
    try:
        return column.field(), column.array(converted)
    except DataError:  # such as a number that is too large
        return _text_array(column, [None if value is None else words(value) for value in values], "text")


def _text_array(column: DatabaseColumn, texts: list[str | None], base: str) -> tuple[pa.Field, pa.Array]:
    import pyarrow as pa

    try:
        array = pa.array(texts, pa.string())
    except UnicodeEncodeError:
        raise DataError(f"Column {column.name!r} holds halves of characters, which no database stores.") from None
    refuse_nul(column.name, array)
    return inferred(column.name, pa.string(), ColumnTypes(column.type, base)), array


def _storable(name: str) -> str:
    if not name or "\0" in name or len(name.encode(errors="replace")) > LONGEST_NAME_BYTES:
        raise DataError(
            f"A field is named {name[:20]!r}…, as no column can be: the name is empty, longer than "
            f"{LONGEST_NAME_BYTES} bytes, or holds NUL. List the fields to load in columns."
        )
    return name
