"""MySQL and MariaDB, through PyMySQL."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from airflow_etl_sync.core.model import CursorType, Stream, TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind
from airflow_etl_sync.systems.database.dialect import Dialect, Found
from airflow_etl_sync.systems.database.pymysql_cursor import (
    BINARY_CHARSET,
    ENUM,
    SET,
    UNSIGNED,
    Field,
    fields_of,
    give_up,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, CursorResult, Select

_SESSION = (
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION net_write_timeout = 86400",  # while a chunk is loaded, the server waits to be read from
    "SET SESSION wait_timeout = 86400",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_QUARTER, _LONGEST_REPETITION = 900, 25 * 3600
_MOST_BYTES_OF_CHARACTER = 4

_COLUMNS = text("""
SELECT column_name, column_type, data_type, is_nullable
FROM information_schema.columns
WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_KEY_COLUMNS = text("""
SELECT column_name
FROM information_schema.key_column_usage
WHERE table_schema = coalesce(:schema, database()) AND table_name = :name AND constraint_name = 'PRIMARY'
ORDER BY ordinal_position
""")
_JSON_COLUMNS = text("""
SELECT constraint_name
FROM information_schema.check_constraints
WHERE constraint_schema = coalesce(:schema, database()) AND table_name = :name
    AND check_clause = concat('json_valid(`', constraint_name, '`)')
""")
"""MariaDB keeps JSON in a text that it checks."""


class MySql(Dialect):
    """Types come from the server's own description of a result, so a query's are as exact as a table's."""

    def find(self, connection: Connection, stream: Stream, names: Sequence[str], cursor: Any) -> Found:  # noqa: ARG002
        fields = fields_of(cursor)
        if stream.table is None:
            return Found(columns=tuple(map(_column, fields)), own_key=(), never_null=frozenset())
        name = {"name": stream.table.name, "schema": stream.table.schema}
        known = {row[0]: row for row in connection.execute(_COLUMNS, name)}
        jsons = set(connection.execute(_JSON_COLUMNS, name).scalars()) if connection.dialect.is_mariadb else set()  # type: ignore[attr-defined]
        return Found(
            columns=tuple(_table_column(field, known[field.name], jsons) for field in fields),
            own_key=self.own_key(connection, stream.table),
            never_null=frozenset(each for each, row in known.items() if row[3] == "NO"),
        )

    def own_key(self, connection: Connection, table: TableName) -> tuple[str, ...]:
        name = {"name": table.name, "schema": table.schema}
        return tuple(connection.execute(_KEY_COLUMNS, name).scalars())

    def begin(self, connection: Connection) -> None:
        """Read one snapshot, with instants in UTC."""
        for statement in _SESSION:
            connection.execute(text(statement.replace(":", "\\:")))

    def cap(self, connection: Connection, cursor_type: CursorType, lag: timedelta) -> date:
        """See :meth:`Dialect.cap`. Local is what the server's sessions have unless they choose another zone.

        It is the smallest local time that any instant from the cap on can have: a clock that is set back repeats at
        most a day, and zones change at whole quarters of an hour.
        """
        clock = connection.execute(select(func.utc_timestamp())).scalar_one().replace(tzinfo=timezone.utc)
        cap: datetime = clock.replace(microsecond=0) - lag
        if cursor_type == "timestamptz":
            return cap
        first = int(cap.timestamp())
        quarters = range(first - first % _QUARTER + _QUARTER, first + _LONGEST_REPETITION, _QUARTER)
        local = connection.execute(select(func.least(*(func.from_unixtime(each) for each in (first, *quarters)))))
        at: datetime = local.scalar_one().replace(microsecond=0)
        return at.date() if cursor_type == "date" else at

    def bound(self, value: Any) -> Any:
        """Nothing equals NULL, and no column holds an infinite number, which the driver would refuse."""
        is_number = isinstance(value, (float, Decimal))
        return None if is_number and not math.isfinite(value) else value

    def estimate(self, connection: Connection, statement: Select[Any]) -> int:
        """How many rows the server expects."""
        planned = connection.execute(sql.Explained(statement)).mappings()
        return max((int(row["rows"] or 0) for row in planned), default=0)

    def limit_time(self, connection: Connection, seconds: float) -> None:
        if connection.dialect.is_mariadb:  # type: ignore[attr-defined]
            connection.execute(text(f"SET SESSION max_statement_time = {seconds:.3f}"))
        else:
            connection.execute(text(f"SET SESSION max_execution_time = {max(int(seconds * 1000), 1)}"))

    def abandon(self, result: CursorResult[Any]) -> None:
        if result.cursor is not None:
            give_up(result.cursor)
            result.connection.invalidate()


def _table_column(field: Field, known: Any, jsons: Iterable[str]) -> DatabaseColumn:
    """A table's column, of which the server says more than of a query's."""
    _, declared, data_type, _ = known
    if field.name in jsons:
        return DatabaseColumn(name=field.name, declared="json", kind="text", type="json")
    if data_type == "uuid":
        return DatabaseColumn(name=field.name, declared=declared, kind="uuid", type="uuid")
    return _column(field, declared)


def _column(field: Field, declared: str | None = None) -> DatabaseColumn:
    from pymysql.constants import FIELD_TYPE

    if field.flags & (ENUM | SET):
        return DatabaseColumn(name=field.name, declared=declared or "enum", kind="text", type="text", form="words")
    is_unsigned = bool(field.flags & UNSIGNED)
    plain: dict[int, tuple[Kind, str]] = {
        FIELD_TYPE.TINY: ("smallint", "smallint"),
        FIELD_TYPE.SHORT: ("integer", "integer") if is_unsigned else ("smallint", "smallint"),
        FIELD_TYPE.INT24: ("integer", "integer"),
        FIELD_TYPE.LONG: ("bigint", "bigint") if is_unsigned else ("integer", "integer"),
        FIELD_TYPE.LONGLONG: ("numeric", "numeric(20,0)") if is_unsigned else ("bigint", "bigint"),
        FIELD_TYPE.YEAR: ("smallint", "smallint"),
        FIELD_TYPE.FLOAT: ("real", "real"),
        FIELD_TYPE.DOUBLE: ("double", "double precision"),
        FIELD_TYPE.NEWDECIMAL: ("numeric", _numeric(field)),
        FIELD_TYPE.DECIMAL: ("numeric", _numeric(field)),
        FIELD_TYPE.DATE: ("date", "date"),
        FIELD_TYPE.NEWDATE: ("date", "date"),
        FIELD_TYPE.DATETIME: ("timestamp", "timestamp without time zone"),
        FIELD_TYPE.TIMESTAMP: ("timestamptz", "timestamp with time zone"),
        FIELD_TYPE.TIME: ("interval", "interval"),
        FIELD_TYPE.BIT: ("bits", f"bit({field.length})"),
        FIELD_TYPE.JSON: ("text", "json"),
        FIELD_TYPE.GEOMETRY: ("bytes", "bytea"),
        FIELD_TYPE.NULL: ("text", "text"),
    }
    kind, type_ = plain.get(field.code) or _string(field)
    form: Any = "double" if kind == "real" else "plain"
    return DatabaseColumn(name=field.name, declared=declared or type_, kind=kind, type=type_, form=form)


def _numeric(field: Field) -> str:
    """The length counts the sign and the point, too."""
    precision = field.length - bool(field.scale) - (not field.flags & UNSIGNED)
    return f"numeric({precision},{field.scale})"


def _string(field: Field) -> tuple[Kind, str]:
    from pymysql.constants import FIELD_TYPE

    if field.charset == BINARY_CHARSET:
        return ("bytes", "bytea")
    if field.code in (FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.VARCHAR):
        length = max(field.length // _MOST_BYTES_OF_CHARACTER, 1)
        return ("text", f"character varying({length})")
    if field.code in (FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB):
        return ("text", "text")
    raise ConfigurationError(
        f"Column {field.name!r} has a type for which there is no rule (number {field.code} of the protocol): leave it "
        "out (columns), or read a query (sql) that converts it to text."
    )
