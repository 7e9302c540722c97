"""Destinations away from the state tables, beside a PostgreSQL source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.base import Destination, Merged
from airflow_etl_sync.systems.delta.access import DeltaAccess
from airflow_etl_sync.systems.delta.destination import DeltaDestination
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.world import World


@dataclass
class LakeWorld(World):
    """A world whose table ``t`` lies elsewhere, and whose state is in ``warehouse_db``.

    :param made: makes the destination, given the engine of the state tables
    """

    made: Callable[[Engine], Destination] = field(default=None)  # type: ignore[assignment]

    @property
    def destination(self) -> Destination:
        return self.made(PostgresAccess(self.warehouse_db).engine())


def delta(root: Path | str, options: dict[str, str] | None = None) -> Callable[[Engine], DeltaDestination]:
    access = DeltaAccess(str(root), lambda: options or {})
    return lambda state: DeltaDestination(access, TableName("t"), state)


class Dying:
    """A destination that dies after it has merged a chunk, before the ledger is committed."""

    def __init__(self, destination: Destination, number: int = 0) -> None:
        self._destination = destination
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destination, name)

    def merge(self, connection: Any, staged: Any, *terms: Any) -> Merged:
        merged = self._destination.merge(connection, staged, *terms)
        if staged.mark.number == self._number:
            raise InterruptedError
        return merged


def fill(source: psycopg.Connection, rows: int = 10) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, v text)")
    source.execute("INSERT INTO t SELECT n, n, 'v' || n FROM generate_series(1, %s) AS n", [rows])


def source_rows(source: psycopg.Connection) -> list[tuple[Any, ...]]:
    return source.execute("SELECT * FROM t ORDER BY id").fetchall()


EXACT: list[tuple[str, str, Any]] = [
    ("smallint", "-32768", -32768),
    ("bigint", "9223372036854775807", 2**63 - 1),
    ("real", "16777217.1", 16777218.0),
    ("double precision", "0.1::float8 + 0.2::float8", 0.1 + 0.2),
    ("boolean", "true", True),
    ("numeric(12,2)", "1.10", Decimal("1.10")),
    ("numeric(38,0)", "99999999999999999999999999999999999999", Decimal("9" * 38)),
    ("numeric", "12345678901234567890.01234567890123456789", "12345678901234567890.01234567890123456789"),
    ("numeric(50,10)", "1.5", "1.5000000000"),
    ("text", "'größe 😀 '", "größe 😀 "),
    ("character varying(5)", "'ab '", "ab "),
    ("uuid", "'0f0e0d0c-0b0a-0908-0706-050403020100'", "0f0e0d0c-0b0a-0908-0706-050403020100"),
    ("jsonb", "'{\"a\": 1.10}'", '{"a": 1.10}'),
    ("bytea", "'\\x00ff'", b"\x00\xff"),
    ("date", "'0044-03-15'", date(44, 3, 15)),
    ("timestamp", "'2026-01-02 03:04:05.123456'", datetime(2026, 1, 2, 3, 4, 5, 123456)),  # noqa: DTZ001
    ("timestamptz", "'2026-01-02 03:04:05.123456+02'", datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=timezone.utc)),
    ("time", "'08:30:00.5'", "08:30:00.5"),
    ("interval", "'1 day 02:00:00'", "P1DT2H"),
    ("numeric", "'NaN'", "NaN"),
    ("numeric", "'-Infinity'", "-Infinity"),
    ("integer[]", "'{1,2}'", "{1,2}"),
]
"""A type, a value in SQL, and what lands."""
