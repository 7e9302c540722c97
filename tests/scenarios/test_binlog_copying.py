"""C01, C05: the first copy of a table whose changes a binary log tells, with writers and kills meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pymysql
import pytest

from airflow_etl_sync.cdc.binlog import visibility
from airflow_etl_sync.cdc.binlog.log import BinaryLog
from airflow_etl_sync.errors import SourceError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BINLOG_FAILPOINTS, BinlogCapture, copied, told
from tests.scenarios.streaming import new_dice

FAILPOINTS = {
    "stage": "after cdc.piece:TablePiece.stage 1",
    "merge": "after systems.postgres.destination:PostgresDestination.merge 1",
    **BINLOG_FAILPOINTS,
}
"""Where a capture may be killed once it has changes."""

WHILE_COPYING = (
    "after journey.cdc_opening:begin 1",
    "after systems.postgres.destination:PostgresDestination.merge 2",
    "before state.cdc_pipelines:mark_ready 1",
    "after state.cdc_pipelines:mark_ready 1",
    *BINLOG_FAILPOINTS.values(),
)


@contextmanager
def _writers(shop: MariaDb, dice: random.Random, count: int = 3) -> Iterator[None]:
    """Sessions that change rows at random until the block ends."""
    is_over = threading.Event()
    seeds = [dice.randrange(10**9) for _ in range(count)]
    threads = [threading.Thread(target=_write, args=(shop, random.Random(seed), is_over)) for seed in seeds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _write(shop: MariaDb, dice: random.Random, is_over: threading.Event) -> None:
    with shop.connect() as connection, connection.cursor() as cursor:
        while not is_over.is_set():
            with suppress(pymysql.err.OperationalError, pymysql.err.IntegrityError):  # deadlocks, keys that are taken
                cursor.execute("BEGIN")
                for _ in range(dice.randint(1, 4)):
                    cursor.execute(_change(dice))
                cursor.execute(dice.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            time.sleep(0.02)


def _change(dice: random.Random) -> str:
    one, other = dice.randint(1, 400), dice.randint(1, 600)
    return dice.choice(
        [
            f"UPDATE t SET v = 'changed {other}' WHERE id BETWEEN {one} AND {one + 5}",
            f"DELETE FROM t WHERE id = {one}",
            f"INSERT INTO t VALUES ({other}, 'added')",
            f"REPLACE INTO t VALUES ({other}, 'replaced')",
            f"UPDATE t SET id = {other} WHERE id = {one}",
            f"INSERT INTO t VALUES ({one}, 'x') ON DUPLICATE KEY UPDATE v = 'met'",
        ]
    )


@pytest.mark.scenario("C01")
def test_three_writers_during_the_copy_and_kills(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    dice = new_dice()
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20))")
    shop.execute("INSERT INTO t SELECT seq, 'new' FROM seq_1_to_400")
    logged = logged.but(
        copy_chunk_rows=dice.choice([50, 100]), limits=CaptureLimits(batch_changes=dice.choice([200, 1000]))
    )
    with _writers(shop, dice):
        for failpoint in dice.sample(WHILE_COPYING, 4):
            logged.run_killed(failpoint, dice.choice(["one", "another"]), may_survive=True)
        logged.run("the last")
    logged.run()
    assert copied(warehouse) == told(shop)


@pytest.mark.scenario("C05")
@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_anywhere_nothing_is_lost_and_nothing_applied_twice(
    point: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20))", "INSERT INTO t SELECT seq, 'new' FROM seq_1_to_60"
    )
    logged.run()
    for statement in (
        "UPDATE t SET v = 'changed' WHERE id <= 10", "DELETE FROM t WHERE id = 20", "INSERT INTO t VALUES (99, 'x')",
        "UPDATE t SET id = 101 WHERE id = 30", "FLUSH BINARY LOGS", "UPDATE t SET v = 'again' WHERE id <= 5",
    ):  # fmt: skip
        shop.execute(statement)
    logged = logged.but(limits=CaptureLimits(batch_changes=4, piece_changes=3))
    logged.run_killed(FAILPOINTS[point])
    logged.run("again")
    assert copied(warehouse) == told(shop)
    totals = "sum(rows_extracted), sum(updated), sum(deleted), sum(inserted), sum(skipped)"
    counted = warehouse.execute(f"SELECT {totals} FROM etl_sync.sync_run WHERE kind = 'cdc'").fetchone()
    assert counted is not None
    assert tuple(map(int, counted)) == (18, 15, 2, 2, 0), "each change is counted once, by whichever run applied it"


# -- commits that are logged and not yet visible ----------------------------------------------------------


HELD_MILLISECONDS = 3000
SEMI_SYNCHRONOUS = {
    "rpl_semi_sync_master_wait_point": "'AFTER_SYNC'",
    "rpl_semi_sync_master_wait_no_slave": "ON",
    "rpl_semi_sync_master_timeout": str(HELD_MILLISECONDS),
    "rpl_semi_sync_master_enabled": "ON",
}
"""Each commit waits, when it is logged and not yet visible, for a replica, of which there is none."""


@contextmanager
def _a_commit_held(shop: MariaDb, statement: str) -> Iterator[None]:
    """One that is in the log, and that no reader sees for some time."""
    log = BinaryLog(shop.access)
    before = log.flushed()
    writer = threading.Thread(target=shop.execute, args=(statement,))
    try:
        shop.execute(*(f"SET GLOBAL {name} = {value}" for name, value in SEMI_SYNCHRONOUS.items()))
        writer.start()
        while log.flushed() == before:
            time.sleep(0.01)
        yield
    finally:
        shop.execute("SET GLOBAL rpl_semi_sync_master_enabled = OFF")
        writer.join()


@pytest.mark.scenario("C01")
@pytest.mark.parametrize("is_mariadb", [True, False])
@pytest.mark.parametrize("apply", ["upsert", "history"])
def test_a_copy_sees_all_that_the_log_has_told_by_then(
    apply: Any, is_mariadb: bool, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    class Told(BinaryLog):
        """A log of which may not be known what a snapshot sees of it."""

        def wait_until_visible(self) -> None:
            with self.access.look() as connection:
                visibility.wait_until_visible(connection, self.flushed(), is_mariadb=is_mariadb)

    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20))")
    shop.execute("INSERT INTO t VALUES (1, 'there'), (2, 'to be deleted')")
    with _a_commit_held(shop, "REPLACE INTO t SELECT id + 1, 'held' FROM t"):
        assert len(told(shop)) == 2, "it is not visible yet"
        logged.but(apply=apply).run(log=Told(shop.access))
    assert len(told(shop)) == 3
    assert copied(warehouse, "id, v") == told(shop)


@pytest.mark.scenario("C01")
@pytest.mark.parametrize("is_mariadb", [True, False])
def test_a_transaction_that_is_open_holds_a_copy_up_only_where_it_must(
    is_mariadb: bool, shop: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing tells what a snapshot sees, it might be one that is committed and not visible yet."""
    monkeypatch.setattr(visibility, "LONGEST_WAIT_SECONDS", 2)
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
    log = BinaryLog(shop.access)
    with shop.connect() as writer, writer.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO t VALUES (1)")
        written, _ = log.written()
        with shop.access.look() as connection:
            if is_mariadb:
                visibility.wait_until_visible(connection, written, is_mariadb=True)
                return
            with pytest.raises(SourceError, match=r"was in flight .* a retry waits again"):
                visibility.wait_until_visible(connection, written, is_mariadb=False)
            cursor.execute("COMMIT")
            visibility.wait_until_visible(connection, written, is_mariadb=False)
