"""C09: neither one huge transaction of a binary log nor many tiny ones are held in memory."""

from __future__ import annotations

import os

import psycopg
import pytest

from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told

ROWS = int(os.environ.get("ETL_SYNC_TEST_CDC_ROWS", "200000"))
"""The full size is 1,000,000."""
TINY = ROWS // 10
MOST_BYTES = 300_000_000
DIGEST = "count(*), sum(id), sum(customer), min(note), max(note), sum(amount)"


@pytest.fixture
def captured(logged: BinlogCapture, shop: MariaDb) -> BinlogCapture:
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, customer bigint, amount decimal(12, 2), note varchar(40))")
    logged.run()
    return logged


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_a_huge_transaction(captured: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    shop.execute(f"INSERT INTO t SELECT seq, seq % 1000, seq / 7, md5(seq) FROM seq_1_to_{ROWS}")
    measured = captured.run_measured()
    assert (measured["report"]["inserted"], measured["report"]["transactions"]) == (ROWS, 1)
    assert measured["peak_bytes"] < MOST_BYTES, measured
    shop.execute("BEGIN", "UPDATE t SET customer = 0", "DELETE FROM t WHERE id % 2 = 0", "COMMIT")
    measured = captured.run_measured()
    assert measured["report"]["deleted"] == ROWS // 2
    assert measured["peak_bytes"] < MOST_BYTES, measured
    assert copied(warehouse, DIGEST) == told(shop, DIGEST)


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_many_tiny_transactions(captured: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    shop.execute(f"FOR i IN 1..{TINY} DO INSERT INTO t (id, customer) VALUES (i, i); COMMIT; END FOR")
    measured = captured.run_measured()
    assert (measured["report"]["inserted"], measured["report"]["transactions"]) == (TINY, TINY)
    assert measured["peak_bytes"] < MOST_BYTES, measured
    assert copied(warehouse, DIGEST) == told(shop, DIGEST)


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_big_rows(captured: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    """200 MB in one transaction, in fewer rows than a piece has."""
    shop.execute("ALTER TABLE t ADD COLUMN body mediumtext")
    shop.execute("INSERT INTO t (id, body) SELECT seq, repeat(md5(seq), 3200) FROM seq_1_to_2000")
    measured = captured.run_measured()
    assert measured["report"]["inserted"] == 2000
    assert measured["peak_bytes"] < MOST_BYTES, measured
    assert copied(warehouse, "id, md5(body)") == told(shop, "id, md5(body)")
