"""What differs from database to database where rows land; here as any one that SQLAlchemy speaks has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from sqlalchemy import literal_column, types

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.database.values import Kind, UnfitError, kind_of, split_type

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Column, ColumnElement, Connection

Values = Callable[[str], Iterable[Any]]
"""Gives the staged values of a column, as Python has them."""

KEY_LENGTH = 255
"""The length of a text in a key whose own length is not known: few databases have an index on texts without end."""


class Landing:
    """A database that is known by nothing but SQLAlchemy's description of it."""

    isolation: ClassVar[str | None] = None
    sent_as_they_are: ClassVar[frozenset[Kind]] = frozenset(
        {"integer", "numeric", "real", "float", "boolean", "text", "bytes", "date", "timestamp", "timestamptz", "time"}
    )
    """Kinds whose values the driver takes as Python has them."""

    shares_locks: ClassVar[bool] = False
    """Whether ``SELECT … FOR SHARE`` keeps a row from being changed; elsewhere it is locked by writing to it."""

    def begin(self, connection: Connection) -> None:
        """Set the session up, before its transaction begins."""

    def refuse_unfit(self, connection: Connection, name: str, schema: str | None) -> None:
        """:raises SchemaError: where the table cannot be merged into"""

    def type_of(self, connection: Connection, field: pa.Field, *, is_key: bool) -> types.TypeEngine[Any]:  # noqa: ARG002
        """The type of a new column that holds every value of a staged one, as far as the database has such a type."""
        declared = next((each for each in types_of(field) if split_type(each)[0] in _SIZED or each in _PLAIN), "")
        name, limits = split_type(declared)
        kind = kind_of(field)
        if kind == "numeric":
            return self.numeric(*(limits if len(limits) == 2 else (limits[0], 0) if limits else (None, None)))
        if kind == "text":
            length = limits[0] if name in _SIZED and limits else KEY_LENGTH if is_key else None
            return self.text(length, is_key=is_key)
        if kind == "bytes":
            return self.octets(is_key=is_key)
        return self.plain(kind, name)

    def widen(
        self, connection: Connection, table: TableName, schema: pa.Schema, key: Sequence[str], values: Values
    ) -> list[SchemaChange]:
        """Give columns that are too narrow for staged values a type that holds them; no column, where none is known to.

        What is changed here is committed.

        :param schema: of the staged columns that the table has
        :param values: gives those of a column
        """
        del connection, table, schema, key, values
        return []

    def numeric(self, precision: int | None, scale: int | None) -> types.TypeEngine[Any]:
        if precision is None or scale is None or not 0 <= scale <= precision:
            return types.Numeric()
        return types.Numeric(precision, scale)

    def text(self, length: int | None, *, is_key: bool) -> types.TypeEngine[Any]:  # noqa: ARG002
        return types.Text() if length is None else types.String(length)

    def octets(self, *, is_key: bool) -> types.TypeEngine[Any]:
        return types.VARBINARY(KEY_LENGTH) if is_key else types.LargeBinary()

    def plain(self, kind: Kind, name: str) -> types.TypeEngine[Any]:
        plain: dict[Kind, types.TypeEngine[Any]] = {
            "integer": {"smallint": types.SmallInteger(), "integer": types.Integer()}.get(name, types.BigInteger()),
            "real": types.Double(),
            "float": types.Double(),
            "boolean": types.Boolean(),
            "date": types.Date(),
            "timestamp": types.DateTime(),
            "timestamptz": types.DateTime(timezone=True),
            "time": types.Time(),
            "uuid": types.String(36),
        }
        return plain[kind]

    def wire(self, value: Any) -> Any:
        """A value as the driver takes it.

        :raises UnfitError: where the database has none for it
        """
        return str(value) if isinstance(value, UUID) else value

    def selected(self, column: Column[Any], type_: types.TypeEngine[Any]) -> ColumnElement[Any]:  # noqa: ARG002
        """A column as it is read back."""
        return column


def as_text(value: Any) -> str:
    """A value as a column of texts holds it: as PostgreSQL writes it.

    :raises UnfitError: where it has no text
    """
    if isinstance(value, bytes):
        raise UnfitError("bytes do not go into a column of texts")
    if isinstance(value, date):
        return moments.written(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, time) else str(value)


_SIZED = frozenset({"character varying", "character", "numeric"})
_PLAIN = frozenset({
    "smallint", "integer", "bigint", "real", "double precision", "boolean", "bytea", "date", "uuid", "text",
    "timestamp without time zone", "timestamp with time zone", "time without time zone",
})  # fmt: skip


class Postgres(Landing):
    """PostgreSQL by SQLAlchemy, as where the state is kept in another one."""

    shares_locks = True

    def octets(self, *, is_key: bool) -> types.TypeEngine[Any]:  # noqa: ARG002
        return types.LargeBinary()


class Sqlite(Landing):
    """SQLite: whoever writes keeps all others from writing, and texts hold what it has no type for."""

    sent_as_they_are = frozenset({"integer", "real", "float", "boolean", "text", "bytes"})

    def numeric(self, precision: int | None, scale: int | None) -> types.TypeEngine[Any]:  # noqa: ARG002
        return types.Text()

    def plain(self, kind: Kind, name: str) -> types.TypeEngine[Any]:
        return types.Text() if kind == "time" else super().plain(kind, name)

    def wire(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return f"{moments.written(value)}:00"
        if isinstance(value, date):
            return moments.written(value)
        if isinstance(value, (Decimal, time, UUID)):
            return as_text(value)
        return value


def double(column: Column[Any]) -> ColumnElement[Any]:
    """A single float with all its digits."""
    return column + literal_column("0e0")
