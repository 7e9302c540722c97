"""C01 to C15, as far as they apply: changes of MariaDB, told by its binary log, make the destination equal to it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.binlog import logging_mariadb, new_database
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with logging_mariadb(tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield mariadb


@pytest.fixture
def shop(logging_server: MariaDb) -> Iterator[MariaDb]:
    with new_database(logging_server) as database:
        yield database


@pytest.fixture
def captured(shop: MariaDb, warehouse_db: str) -> BinlogCapture:
    return BinlogCapture(shop, warehouse_db)


def test_a_copy_then_inserts_updates_deletes_and_what_came_of_them(
    captured: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20), n decimal(12, 2))")
    shop.execute("INSERT INTO t SELECT seq, 'new', seq FROM seq_1_to_100")
    first = captured.run()
    assert (first.counts.changes, first.batches) == (0, 1)
    assert copied(warehouse) == told(shop)
    shop.execute("UPDATE t SET v = 'changed' WHERE id <= 10")
    shop.execute("DELETE FROM t WHERE id > 95")
    shop.execute("INSERT INTO t VALUES (200, NULL, 2)")
    counts = captured.run().counts
    assert (counts.changes, counts.inserted, counts.updated, counts.deleted, counts.transactions) == (16, 1, 10, 5, 3)
    assert copied(warehouse) == told(shop)
    assert captured.run().counts.changes == 0
