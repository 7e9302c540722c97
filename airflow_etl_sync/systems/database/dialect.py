"""What differs from database to database; here as any one that SQLAlchemy speaks has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import func, inspect, select, types

from airflow_etl_sync.core.model import CursorType, Stream, TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.bounds import NUMBERS_LAG
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Select


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a database tells of a stream.

    :param columns: in order; None where it does not tell the types of a query's columns
    :param own_key: the table's primary key, where none of its columns can be NULL
    :param never_null: columns that cannot be
    """

    columns: tuple[DatabaseColumn, ...] | None
    own_key: tuple[str, ...]
    never_null: frozenset[str]


class Dialect:
    """A database that is known by nothing but SQLAlchemy's description of it."""

    numbers_lag: ClassVar[int] = NUMBERS_LAG
    """How far below the largest number a watermark stays where no lag is set: others may have drawn one before it and
    not have committed."""

    def find(self, connection: Connection, stream: Stream, names: Sequence[str], cursor: Any) -> Found:  # noqa: ARG002
        """Look at a stream.

        :param names: of its columns
        :param cursor: the driver's, which has just given an empty result of them
        :raises SchemaError: where a column has a type that is not known to travel
        """
        if stream.table is None:
            return Found(columns=None, own_key=(), never_null=frozenset())
        inspector = inspect(connection)
        name, schema = stream.table.name, stream.table.schema
        known = {column["name"]: column for column in inspector.get_columns(name, schema=schema)}
        own_key = self.own_key(connection, stream.table)
        never_null = frozenset(column for column, about in known.items() if not about["nullable"])
        return Found(
            columns=tuple(self.column(each, known[each]["type"]) for each in names),
            own_key=own_key if never_null.issuperset(own_key) else (),
            never_null=never_null,
        )

    def own_key(self, connection: Connection, table: TableName) -> tuple[str, ...]:
        """The columns of a table's primary key; nothing where it has none."""
        found = inspect(connection).get_pk_constraint(table.name, schema=table.schema)
        return tuple(found["constrained_columns"])

    def column(self, name: str, type_: types.TypeEngine[Any]) -> DatabaseColumn:
        """A column of a type that SQLAlchemy has found.

        :raises ConfigurationError: where no rule is known for it
        """
        for known, (kind, becomes) in _TYPES:
            if isinstance(type_, known):
                return DatabaseColumn(name=name, declared=str(type_), kind=kind, type=_sized(type_, becomes))
        if isinstance(type_, types.DateTime):
            is_aware = bool(type_.timezone)
            zoned: Kind = "timestamptz" if is_aware else "timestamp"
            becomes = "timestamp with time zone" if is_aware else "timestamp without time zone"
            return DatabaseColumn(name=name, declared=str(type_), kind=zoned, type=becomes)
        raise ConfigurationError(
            f"Column {name!r} has a type for which there is no rule ({type(type_).__name__}): leave it out (columns), "
            "or read a query (sql) that converts it to text."
        )

    def begin(self, connection: Connection) -> None:
        """Begin the transaction that reads."""

    def cap(self, connection: Connection, cursor_type: CursorType, lag: timedelta) -> date:
        """The source's clock less the lag, in the cursor's terms: an instant in UTC, a local time, or a local day.

        Where local clocks may be set back, local times stay one more hour behind.

        :raises ConfigurationError: where the source does not tell an instant
        """
        clock = connection.execute(select(func.current_timestamp())).scalar_one()
        capped: datetime = clock.replace(microsecond=0) - lag
        if cursor_type != "timestamptz":
            local = capped.replace(tzinfo=None) - timedelta(hours=1)
            return local.date() if cursor_type == "date" else local
        if capped.tzinfo is None:
            raise ConfigurationError("The source tells its clock without a zone: use a cursor that has none either.")
        return capped.astimezone(timezone.utc)

    def bound(self, value: Any) -> Any:
        """A value as the driver takes it in a statement."""
        return value

    def finds_equal(self, column: DatabaseColumn) -> bool:
        """Whether a value of a column is found by ``=``, however it is kept; unequal ones may be found too.

        A single float is compared as the double that it is not.
        """
        return column.kind != "real" or column.form == "double"

    def limit_time(self, connection: Connection, seconds: float) -> None:
        """Have the database itself give up a statement that takes longer, where it knows how to."""

    def refuse_unordered(self, connection: Connection, stream: Stream, cursor: DatabaseColumn) -> None:
        """:raises DataError: where cursors are written so that the source does not order them as times"""

    def estimate(self, connection: Connection, statement: Select[Any]) -> int:
        """How many rows a statement gives; counted, where the database does not say what it expects."""
        return int(connection.execute(sql.count(statement)).scalar_one())

    def abandon(self, result: CursorResult[Any]) -> None:
        """Give up a result of which rows are still to come."""
        result.close()


def _sized(type_: types.TypeEngine[Any], becomes: str) -> str:
    """PostgreSQL's type with the length or precision of the source's."""
    length = getattr(type_, "length", None)
    if becomes == "character varying":
        return f"character varying({length})" if isinstance(length, int) else "text"
    precision, scale = getattr(type_, "precision", None), getattr(type_, "scale", None)
    if becomes == "numeric" and precision is not None and 0 <= (scale or 0) <= precision:
        return f"numeric({precision},{scale or 0})"
    return becomes


_TYPES: Sequence[tuple[type[types.TypeEngine[Any]], tuple[Kind, str]]] = (
    (types.Boolean, ("boolean", "boolean")),
    (types.SmallInteger, ("smallint", "smallint")),
    (types.BigInteger, ("bigint", "bigint")),
    (types.Integer, ("integer", "integer")),
    (types.REAL, ("real", "real")),
    (types.Float, ("double", "double precision")),
    (types.Numeric, ("numeric", "numeric")),
    (types.Uuid, ("uuid", "uuid")),
    (types.Text, ("text", "text")),
    (types.String, ("text", "character varying")),
    (types.LargeBinary, ("bytes", "bytea")),
    (types.BINARY, ("bytes", "bytea")),
    (types.VARBINARY, ("bytes", "bytea")),
    (types.Date, ("date", "date")),
    (types.Time, ("time", "time without time zone")),
    (types.Interval, ("interval", "interval")),
)
