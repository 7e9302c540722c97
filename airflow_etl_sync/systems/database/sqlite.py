"""SQLite: one file, one writer at a time, and values that keep to their column's type only as far as they like."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import func, select, text

from airflow_etl_sync.core.model import CursorType, Stream
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.database.columns import DatabaseColumn, Kind
from airflow_etl_sync.systems.database.dialect import Dialect, Found
from airflow_etl_sync.systems.database.sql import bound, compared, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_STEPS = 10_000
"""So many steps of a statement lie between two looks at the clock; they take about a millisecond."""

_TABLE = text("""
SELECT name, type, "notnull", pk FROM pragma_table_xinfo(:name, coalesce(:schema, 'main')) ORDER BY cid
""")


class Sqlite(Dialect):
    """Tables have types, queries have none: those are told from the values."""

    numbers_lag: ClassVar[int] = 0  # whoever draws a number keeps all others from writing until it has committed

    def find(self, connection: Connection, stream: Stream, names: Sequence[str], cursor: Any) -> Found:  # noqa: ARG002
        if stream.table is None:
            return Found(columns=None, own_key=(), never_null=frozenset())
        name = {"name": stream.table.name, "schema": stream.table.schema}
        known = {row.name: row for row in connection.execute(_TABLE, name)}
        key = [row.name for row in sorted((row for row in known.values() if row.pk), key=lambda row: row.pk)]
        is_rowid = len(key) == 1 and known[key[0]].type.upper() == "INTEGER"
        never_null = frozenset([*(row.name for row in known.values() if row.notnull), *(key if is_rowid else ())])
        return Found(
            columns=tuple(_column(each, known[each].type or "") for each in names),
            own_key=tuple(key) if never_null.issuperset(key) else (),
            never_null=never_null,
        )

    def cap(self, connection: Connection, cursor_type: CursorType, lag: timedelta) -> date:
        """See :meth:`Dialect.cap`; SQLite's clock is in UTC, and so are the times that it sets."""
        clock = datetime.fromisoformat(connection.execute(select(func.datetime("now"))).scalar_one())
        cap = clock - lag
        if cursor_type == "timestamptz":
            return cap.replace(tzinfo=timezone.utc)
        return cap.date() if cursor_type == "date" else cap

    def bound(self, value: Any) -> Any:
        """Times are texts here; one without a zero at its end comes before all that write it with one."""
        if isinstance(value, date):
            return moments.written(value)
        return str(value) if isinstance(value, Decimal) else value

    def finds_equal(self, column: DatabaseColumn) -> bool:
        """Times are kept as they were written, and decimals as floats, which have more digits than are read."""
        return column.kind not in ("numeric", "date", "timestamp")

    def limit_time(self, connection: Connection, seconds: float) -> None:
        end = monotonic() + seconds
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: monotonic() > end, _STEPS)

    def refuse_unordered(self, connection: Connection, stream: Stream, cursor: DatabaseColumn) -> None:
        """A number, such as seconds since 1970, comes before every text, and so before every window."""
        if not cursor.is_loosely_written:
            return
        if connection.execute(find(stream, compared(cursor) < bound(""))).first():
            raise DataError(
                f"Column {cursor.name!r} is {cursor.declared} and holds numbers beside texts in ISO 8601, or in "
                "their place: use a column of whole numbers as cursor, or write the times as texts."
            )


def _column(name: str, declared: str) -> DatabaseColumn:
    """A column by SQLite's own rules of affinity, and by the names of types that people take from other databases."""
    word = declared.upper()
    is_time = any(part in word for part in ("DATETIME", "TIMESTAMP"))
    if is_time or word == "DATE":
        kind: Kind = "timestamp" if is_time else "date"
        type_ = "timestamp without time zone" if is_time else "date"
        return DatabaseColumn(name=name, declared=declared, kind=kind, type=type_, is_loosely_written=is_time)
    return DatabaseColumn(name=name, declared=declared or "of no type", **_by_affinity(name, word))


def _by_affinity(name: str, word: str) -> dict[str, Any]:
    if word.startswith("BOOL"):
        return {"kind": "boolean", "type": "boolean"}
    if "INT" in word:
        return {"kind": "bigint", "type": "bigint"}
    if any(part in word for part in ("CHAR", "CLOB", "TEXT", "JSON", "TIME", "UUID")):
        return {"kind": "text", "type": "json" if word == "JSON" else "text"}
    if "BLOB" in word:
        return {"kind": "bytes", "type": "bytea"}
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return {"kind": "double", "type": "double precision"}
    if any(part in word for part in ("NUMERIC", "DECIMAL")):
        return {"kind": "numeric", "type": "numeric"}  # nobody keeps values to the precision that is declared
    raise ConfigurationError(
        f"Column {name!r} has a type for which there is no rule ({word[:40] or 'none'}): leave it out (columns), or "
        "read a query (sql) that casts it."
    )
