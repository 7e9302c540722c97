"""C09: neither one huge transaction nor many tiny ones are held in memory."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from tests.scenarios.streaming import Capture, Slots, rows, same

ROWS = int(os.environ.get("ETL_SYNC_TEST_CDC_ROWS", "200000"))
"""The full size is 1,000,000."""
TINY = ROWS // 10
MOST_BYTES = 300_000_000
TABLE = """
CREATE TABLE t (
    id bigint PRIMARY KEY, customer bigint, status text, amount numeric(12, 2), note text, at timestamptz DEFAULT now()
)
"""


@pytest.fixture
def captured(source_db: str, warehouse_db: str, slots: Slots, tmp_path: Path, source: psycopg.Connection) -> Capture:
    source.execute(TABLE)
    captured = Capture(source_db, warehouse_db, slots(source_db), tmp_path)
    captured.set_up()
    return captured


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_a_huge_transaction(captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute(
        "INSERT INTO t SELECT i, i %% 1000, 'new', i / 7.0, md5(i::text) FROM generate_series(1, %s) AS i", [ROWS]
    )
    measured = captured.run_measured()
    assert measured["report"]["inserted"] == ROWS
    assert measured["report"]["transactions"] == 1
    assert not measured["has_airflow"]
    assert measured["peak_bytes"] < MOST_BYTES, measured
    with source.transaction():
        source.execute("UPDATE t SET status = 'paid'")
        source.execute("DELETE FROM t WHERE id % 2 = 0")
    measured = captured.run_measured()
    assert measured["report"]["deleted"] == ROWS // 2
    assert measured["peak_bytes"] < MOST_BYTES, measured
    assert same(source, warehouse)


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_many_tiny_transactions(captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute(
        f"""
        DO $$ BEGIN
            FOR i IN 1..{TINY} LOOP
                INSERT INTO t (id, customer) VALUES (i, i);
                COMMIT;
            END LOOP;
        END $$
        """
    )
    measured = captured.run_measured()
    assert (measured["report"]["inserted"], measured["report"]["transactions"]) == (TINY, TINY)
    assert measured["peak_bytes"] < MOST_BYTES, measured
    assert same(source, warehouse)


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_wide_rows(captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    """200 MB in one transaction, in fewer rows than a piece has."""
    wide = "(SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 3200) AS j)"
    source.execute(f"INSERT INTO t (id, note) SELECT i, {wide} FROM generate_series(1, 2000) AS i")
    measured = captured.run_measured()
    assert measured["report"]["inserted"] == 2000
    assert measured["peak_bytes"] < MOST_BYTES, measured
    digest = "id, md5(note) AS note"
    assert rows(warehouse, columns=digest) == rows(source, columns=digest)
