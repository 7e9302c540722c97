"""MySQL and MariaDB where rows land."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import text, types
from sqlalchemy.dialects import mysql

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.database.landing import KEY_LENGTH, Landing, Values, double
from airflow_etl_sync.systems.database.types_mysql import MOST_DIGITS, MOST_SCALE, holds, wider
from airflow_etl_sync.systems.database.values import Kind, UnfitError
from airflow_etl_sync.systems.database.widening_mysql import declared_types, widen

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Column, ColumnElement, Connection

_SESSION = (
    "SET SESSION time_zone = '+00:00'",
    # what is cut or out of range is an error, and 0 in a column that counts up is 0
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO'",
)
_ENGINE = text("""
SELECT engine FROM information_schema.tables
WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_WITHOUT_TRANSACTIONS = frozenset({"MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE", "MRG_MyISAM", "BLACKHOLE"})
_LONGEST_IN_ROW = 500
"""Longer texts lie beside their row, in which there is room for 65,535 bytes in all."""


class MySql(Landing):
    """Strict in every session, with instants in UTC, and texts that are compared letter by letter."""

    isolation: ClassVar[str | None] = "READ COMMITTED"  # no gaps are locked: loads beside each other insert freely
    shares_locks: ClassVar[bool] = True
    sent_as_they_are: ClassVar[frozenset[Kind]] = frozenset(
        {"integer", "boolean", "text", "bytes", "date", "timestamp", "time"}
    )

    def begin(self, connection: Connection) -> None:
        for statement in _SESSION:
            connection.exec_driver_sql(statement)

    def refuse_unfit(self, connection: Connection, name: str, schema: str | None) -> None:
        engine = connection.execute(_ENGINE, {"name": name, "schema": schema}).scalar()
        if engine in _WITHOUT_TRANSACTIONS:
            raise SchemaError(
                f"The table {name!r} is kept by the storage engine {engine}, which has no transactions, so that a load "
                "could stop half-way: change it (ALTER TABLE … ENGINE = InnoDB)."
            )

    def type_of(self, connection: Connection, field: pa.Field, *, is_key: bool) -> types.TypeEngine[Any]:
        found = super().type_of(connection, field, is_key=is_key)
        if isinstance(found, (mysql.VARCHAR, mysql.LONGTEXT)):
            found.collation = _collation(connection)
        return found

    def widen(
        self, connection: Connection, table: TableName, schema: pa.Schema, key: Sequence[str], values: Values
    ) -> list[SchemaChange]:
        declared, changes = declared_types(connection, table), list[SchemaChange]()
        for field in schema:
            old = declared.get(field.name, "")
            wanted = self.type_of(connection, field, is_key=field.name in key)
            new = wider(old, _bare(wanted, connection))
            if new is not None and not all(holds(old, value) for value in values(field.name)):
                changes += widen(connection, table, field.name, old, new)
        return changes

    def numeric(self, precision: int | None, scale: int | None) -> types.TypeEngine[Any]:
        if precision is None or scale is None or not scale <= precision <= MOST_DIGITS or not 0 <= scale <= MOST_SCALE:
            return mysql.DECIMAL(MOST_DIGITS, MOST_SCALE)
        return mysql.DECIMAL(precision, scale)

    def text(self, length: int | None, *, is_key: bool) -> types.TypeEngine[Any]:
        if length is None or (length > _LONGEST_IN_ROW and not is_key):
            return mysql.LONGTEXT(charset="utf8mb4")
        return mysql.VARCHAR(length, charset="utf8mb4")

    def octets(self, *, is_key: bool) -> types.TypeEngine[Any]:
        return mysql.VARBINARY(KEY_LENGTH) if is_key else mysql.LONGBLOB()

    def plain(self, kind: Kind, name: str) -> types.TypeEngine[Any]:
        if kind in ("timestamp", "timestamptz"):
            return mysql.DATETIME(fsp=6)  # a timestamp ends in 2038
        if kind in ("real", "float"):
            return mysql.DOUBLE()
        if kind == "uuid":
            return self.text(36, is_key=False)
        return mysql.TIME(fsp=6) if kind == "time" else super().plain(kind, name)

    def wire(self, value: Any) -> Any:
        if isinstance(value, (float, Decimal)) and not math.isfinite(value):
            raise UnfitError("MySQL has neither NaN nor infinity")
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(timezone.utc).replace(tzinfo=None)
        return super().wire(value)

    def selected(self, column: Column[Any], type_: types.TypeEngine[Any]) -> ColumnElement[Any]:
        return double(column) if isinstance(type_, mysql.FLOAT) else column


def _bare(type_: types.TypeEngine[Any], connection: Connection) -> str:
    """A type in MySQL's words, without character set."""
    words = type_.compile(dialect=connection.dialect).lower()
    return words.partition(" character set")[0].partition(" collate")[0].replace(", ", ",").replace("integer", "int")


def _collation(connection: Connection) -> str:
    """The one by which only texts of the same letters are equal, blanks at the end included."""
    dialect: Any = connection.dialect
    if dialect.is_mariadb:
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if dialect.server_version_info >= (8, 0, 17) else "utf8mb4_bin"
