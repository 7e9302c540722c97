"""The comparison on real tables, down to the last digit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from airflow_etl_sync.demo.comparison import Comparison, compare

if TYPE_CHECKING:
    import psycopg

QUERY = """
SELECT number AS id, number::numeric / 4 AS total, 'text' AS note, timestamptz '2026-01-01 00:00+00' AS moment
FROM generate_series(1, 12000) AS number
"""


@pytest.fixture
def copied(source_db: str, warehouse_db: str, warehouse: psycopg.Connection) -> tuple[str, str]:
    warehouse.execute(f'CREATE TABLE "Copy" AS SELECT *, now() AS synced_at FROM ({QUERY}) AS made')
    return source_db, warehouse_db


def compared(copied: tuple[str, str]) -> Comparison:
    source, destination = copied
    return compare(
        source,
        destination,
        source_query=QUERY,
        destination_table=("public", "Copy"),
        key="id",
        leave_out="synced_at",
    )


def test_equal_tables_are_equal_whatever_the_session_zone(
    copied: tuple[str, str], warehouse: psycopg.Connection
) -> None:
    statement = sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'")
    warehouse.execute(statement.format(sql.Identifier(warehouse.info.dbname)))
    comparison = compared(copied)
    assert comparison.is_equal
    assert (comparison.source_rows, comparison.destination_rows) == (12_000, 12_000)


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        ("UPDATE {} SET total = total + 0.0000000000000001 WHERE id = 11999", "row 11999 differs in total"),
        ("UPDATE {} SET moment = moment + interval '1 microsecond' WHERE id = 1", "row 1 differs in moment"),
        ("UPDATE {} SET note = NULL WHERE id = 5000", "row 5000 differs in note"),
        ("DELETE FROM {} WHERE id = 12000", "row 12000 is missing in the destination"),
        ("INSERT INTO {} (id) VALUES (12001)", "row 12001 is only in the destination"),
    ],
)
def test_one_difference_is_found(
    copied: tuple[str, str], warehouse: psycopg.Connection, sabotage: str, told: str
) -> None:
    warehouse.execute(sabotage.format('"Copy"'))
    assert [str(difference) for difference in compared(copied).differences] == [told]
