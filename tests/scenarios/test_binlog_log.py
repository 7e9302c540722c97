"""C06 to C08, C12: a binary log that is begun anew, removed, cut into files, written otherwise, or not to be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.errors import ConfigurationError, StateError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from tests.binlog import logging_mariadb, new_database
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told
from tests.scenarios.world import scalar


@pytest.fixture
def small(logged: BinlogCapture, shop: MariaDb) -> BinlogCapture:
    """A table of 10 rows that has been copied."""
    _make(shop)
    assert logged.run().counts.changes == 0
    return logged


def _make(shop: MariaDb) -> None:
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(2000))")
    shop.execute("INSERT INTO t SELECT seq, 'new' FROM seq_1_to_10")


@contextmanager
def _set(shop: MariaDb, name: str, value: str) -> Iterator[None]:
    ((before,),) = shop.execute(f"SELECT @@GLOBAL.{name}")
    shop.execute(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        shop.execute(f"SET GLOBAL {name} = {before!r}" if isinstance(before, str) else f"SET GLOBAL {name} = {before}")


def _purge(shop: MariaDb) -> None:
    """Remove all files but the newest; one that was read a moment ago may still be in use."""
    newest, deadline = shop.execute("SHOW MASTER STATUS")[0][0], time.monotonic() + 60
    while len(shop.execute(f"PURGE BINARY LOGS TO '{newest}'", "SHOW BINARY LOGS")) > 1:
        assert time.monotonic() < deadline, shop.execute("SHOW PROCESSLIST")
        time.sleep(0.1)


AMISS = {
    "binlog_format STATEMENT": "binlog_format is STATEMENT",
    "binlog_format MIXED": "binlog_format is MIXED",
    "binlog_row_image MINIMAL": "binlog_row_image is MINIMAL",
    "binlog_row_image NOBLOB": "binlog_row_image is NOBLOB",
    "binlog_row_metadata NO_LOG": "binlog_row_metadata is NO_LOG",
    "binlog_row_metadata MINIMAL": "binlog_row_metadata is MINIMAL",
    "log_bin_compress ON": "log_bin_compress is ON",
}


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("setting", AMISS)
def test_a_setting_that_hides_changes_is_named_before_anything_is_written(
    setting: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    _make(shop)
    with (
        _set(shop, *setting.split()),
        pytest.raises(ConfigurationError, match=f"^{AMISS[setting]}, so the log may hold .*: run SET GLOBAL .*\\.$"),
    ):
        logged.run()
    assert scalar(warehouse, "SELECT to_regnamespace('etl_sync') IS NULL")
    logged.run()
    assert copied(warehouse) == told(shop)


HIDDEN = {
    "parts of rows": (["SET SESSION binlog_row_image = MINIMAL"], "binlog_row_image"),
    "no long values": (["SET SESSION binlog_row_image = NOBLOB"], "binlog_row_image"),
    "no names": (["SET GLOBAL binlog_row_metadata = NO_LOG"], "binlog_row_metadata"),
    "compressed": (["SET GLOBAL log_bin_compress = ON"], "log_bin_compress"),
}
MENDED = ("SET GLOBAL binlog_row_metadata = FULL", "SET GLOBAL log_bin_compress = OFF")


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("case", HIDDEN)
def test_what_was_hidden_in_mid_stream_stops_the_stream_and_resync_mends(
    case: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'new')")
    logged.run()
    orders, name = HIDDEN[case]
    try:
        shop.execute(*orders, "UPDATE t SET v = repeat('x', 2000)", "UPDATE t SET id = id + 1")
    finally:
        shop.execute(*MENDED)
    shop.execute("INSERT INTO t VALUES (20, 'told again')")
    for _ in range(2):
        with pytest.raises(StateError, match=f"SET GLOBAL {name} .* resync"):
            logged.run()
        assert copied(warehouse) == [(1, "new")]
    logged.run(resync=True)
    assert set(told(shop)) <= set(copied(warehouse))
    shop.execute("INSERT INTO t VALUES (30, 'told')")
    assert logged.run().counts.inserted == 1


@pytest.mark.scenario("C07")
def test_a_login_without_rights_is_told_which_before_anything_is_copied(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    _make(shop)
    reader = replace(shop, login=f"r_{shop.database[5:]}")
    shop.execute(f"CREATE USER {reader.login}", f"GRANT SELECT ON {shop.database}.* TO {reader.login}")
    poor = logged.but(shop=reader)
    try:
        for right in ("BINLOG MONITOR", "REPLICATION SLAVE"):
            with pytest.raises(ConfigurationError, match="may not read the binary log: run GRANT REPLICATION SLAVE,"):
                poor.run()
            assert scalar(warehouse, "SELECT to_regnamespace('etl_sync') IS NULL")
            shop.execute(f"GRANT {right} ON *.* TO {reader.login}")
        poor.run()
        shop.execute("DELETE FROM t WHERE id = 1")
        assert poor.run().counts.deleted == 1
    finally:
        shop.execute(f"DROP USER {reader.login}")


@pytest.mark.scenario("C06")
@pytest.mark.scenario("C07")
def test_a_log_that_was_removed_is_never_passed_over(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("DELETE FROM t WHERE id = 1", "FLUSH BINARY LOGS", "DELETE FROM t WHERE id = 2")
    _purge(shop)
    before = copied(warehouse)
    for _ in range(2):
        with pytest.raises(StateError, match=r"has removed its log of what follows.*resync"):
            small.run()
        assert copied(warehouse) == before
    small.run(resync=True)
    shop.execute("DELETE FROM t WHERE id = 3")
    assert small.run().counts.deleted == 1


@pytest.mark.scenario("C06")
@pytest.mark.scenario("C07")
@pytest.mark.parametrize("where", ["before", "behind", "the same", "before the first batch"])
def test_a_log_that_was_begun_anew_is_never_taken_for_the_old_one(
    where: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("RESET MASTER")
    _make(shop)
    if where == "before the first batch":
        logged.run_killed("after journey.cdc_opening:copy 1")
    else:
        logged.run()
    before, position = copied(warehouse), logged.log.flushed()
    time.sleep(1.1)  # the server tells by the second when it began a file
    shop.execute("DELETE FROM t WHERE id = 1", "RESET MASTER")
    if where == "the same":
        _write_up_to(shop, position)
        assert logged.log.flushed() == position
    elif where != "before":
        while logged.log.flushed() < position + 500:
            shop.execute("UPDATE t SET v = concat(v, '+')")
    for _ in range(2):
        with pytest.raises(StateError, match="or has begun it anew: run once with resync"):
            logged.run()
        assert copied(warehouse) == before
    logged.run(resync=True)
    shop.execute("DELETE FROM t WHERE id = 3")
    assert logged.run().counts.deleted == 1


def _write_up_to(shop: MariaDb, position: int) -> None:
    """Write statements of another database into the log until it ends just there."""
    place = position & 0xFFFFFFFF

    def written() -> int:
        return int(shop.execute("SHOW MASTER STATUS")[0][1])

    def comment(size: int) -> None:
        shop.execute(f"FLUSH TABLES /* {'x' * size} */")

    before = written()
    comment(0)
    each = written() - before
    while place - written() > 3 * each:
        comment(0)
    comment(place - written() - each)
    assert written() == place


@pytest.mark.scenario("C07")
def test_another_server_under_the_same_connection_is_never_taken_for_the_old_one(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    before = copied(warehouse)
    with logging_mariadb(tmp_path / "other") as other, new_database(other) as elsewhere:
        elsewhere.execute("SET sql_log_bin = 0", f"CREATE DATABASE {shop.database}")
        there = replace(elsewhere, database=shop.database)
        _make(there)
        with pytest.raises(StateError, match=r"says nothing about another log.* resync to go over"):
            small.but(shop=there).run()
        small.but(shop=there).run(resync=True)
        with pytest.raises(StateError, match="says nothing about another log"):
            small.run()
    assert copied(warehouse) == before


@pytest.mark.scenario("C07")
def test_a_server_without_a_log_says_so(logged: BinlogCapture, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    with logging_mariadb(tmp_path / "other", "--skip-log-bin") as other, new_database(other) as silent:
        _make(silent)
        with pytest.raises(ConfigurationError, match=r"^The server writes no binary log: start it with log_bin"):
            logged.but(shop=silent).run()
    assert scalar(warehouse, "SELECT to_regnamespace('etl_sync') IS NULL")


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
@pytest.mark.parametrize("batch_changes", [1, 4, 1000])
def test_files_that_end_in_the_middle(
    batch_changes: int, small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    for number in range(1, 6):
        shop.execute(f"UPDATE t SET v = concat(v, '+') WHERE id <= {number}", "FLUSH BINARY LOGS")
    shop.execute("FLUSH BINARY LOGS", "INSERT INTO t VALUES (20, 'new')")
    limited = small.but(limits=CaptureLimits(batch_changes=batch_changes))
    counts = limited.run().counts
    assert (counts.changes, counts.transactions) == (16, 6)
    assert copied(warehouse) == told(shop)
    shop.execute("FLUSH BINARY LOGS")
    assert limited.run().counts.changes == 0


@pytest.mark.scenario("C06")
def test_changes_that_are_applied_do_not_come_again(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("UPDATE t SET v = 'told' WHERE id = 2", "DELETE FROM t WHERE id = 1")
    small.run_killed("before cdc.binlog.log:BinaryLog.advance 1")
    warehouse.execute("UPDATE t SET v = 'ours' WHERE id = 2")  # applied again, it would be overwritten
    shop.execute("INSERT INTO t VALUES (1, 'is back')")
    counts = small.run().counts
    assert (counts.changes, counts.inserted, counts.updated, counts.deleted) == (1, 1, 0, 0)
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 2") == "ours"


@pytest.mark.scenario("C08")
def test_an_idle_table_of_a_busy_server_follows_its_log(small: BinlogCapture, shop: MariaDb) -> None:
    shop.execute("CREATE TABLE busy (id int)", "INSERT INTO busy SELECT seq FROM seq_1_to_1000", "FLUSH BINARY LOGS")
    report = small.run()
    assert (report.counts.changes, report.applied) == (0, small.log.flushed())
    _purge(shop)
    assert small.run().counts.changes == 0


@pytest.mark.scenario("C07")
def test_checksums_that_come_and_go(small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    for kind in ("NONE", "CRC32", "NONE"):
        shop.execute(f"UPDATE t SET v = 'before {kind}' WHERE id = 1")
        with _set(shop, "binlog_checksum", kind):
            shop.execute(f"UPDATE t SET v = 'with {kind}' WHERE id = 2")
            assert small.run().counts.changes == 2
            shop.execute(f"UPDATE t SET v = 'more {kind}' WHERE id = 3")
        shop.execute(f"UPDATE t SET v = 'behind {kind}' WHERE id = 4")
        small.run()
        assert copied(warehouse) == told(shop)


# -- XA ---------------------------------------------------------------------------------------------------


@pytest.mark.scenario("C12")
def test_what_xa_commits_at_once_is_a_commit(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("XA START 'a'", "DELETE FROM t WHERE id = 1", "XA END 'a'", "XA COMMIT 'a' ONE PHASE")
    shop.execute("XA START 'b'", "DELETE FROM t WHERE id = 2", "XA END 'b'", "XA ROLLBACK 'b'")
    report = small.run()
    assert (report.counts.deleted, report.counts.transactions, report.warnings) == (1, 1, ())
    assert copied(warehouse) == told(shop)


@pytest.mark.scenario("C12")
def test_what_xa_prepares_stops_the_stream_and_is_not_forgotten_by_a_resync(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    name = f"'it {shop.database}','part',7"
    shop.execute(f"XA START {name}", "DELETE FROM t WHERE id = 1", f"XA END {name}", f"XA PREPARE {name}")
    with pytest.raises(StateError, match="was prepared by XA"):
        small.run()
    assert small.run(resync=True).warnings == ()
    assert len(copied(warehouse)) == 10
    shop.execute(f"XA COMMIT {name}")
    (warning,) = small.run().warnings
    assert "XA had prepared before this stream began" in warning


@pytest.mark.scenario("C12")
def test_what_xa_prepares_of_other_tables_is_remembered(small: BinlogCapture, shop: MariaDb) -> None:
    shop.execute("CREATE TABLE u (id int PRIMARY KEY)")
    names = [f"'{number} {shop.database}'" for number in range(3)]
    for number, name in enumerate(names):
        shop.execute(f"XA START {name}", f"INSERT INTO u VALUES ({number})", f"XA END {name}", f"XA PREPARE {name}")
    small.run()
    shop.execute(f"XA COMMIT {names[0]}", f"XA ROLLBACK {names[1]}", "DELETE FROM t WHERE id = 1")
    report = small.run()
    assert (report.counts.deleted, report.warnings) == (1, ())
    shop.execute(f"XA COMMIT {names[2]}")
    assert small.run().warnings == ()
