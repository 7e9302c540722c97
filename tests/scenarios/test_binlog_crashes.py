"""C05 to C07: a server that stops, is killed or is cut off while its log is read, or while it writes that log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pymysql
import pytest
from sqlalchemy import Connection, Engine, event

from airflow_etl_sync.cdc.binlog.events import DELETES
from airflow_etl_sync.cdc.binlog.log import BinaryLog
from airflow_etl_sync.cdc.binlog.restarts import WholeLog
from airflow_etl_sync.errors import SourceError, StateError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.systems.database.access import DatabaseAccess
from tests.binlog import LoggingServer, logging_server
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told
from tests.scenarios.cut_line import CutLine
from tests.scenarios.world import scalar

LONG, ROWS = 10_000, 3_000
"""More than what lies between two processes: the log is cut, and not only its end is waited for."""
BEFORE = [(number, "before") for number in range(1, 11)]

Strike = Callable[[], None]


class StruckLog(BinaryLog):
    """A log beside which something happens once, while a transaction is read."""

    def __init__(self, access: DatabaseAccess, strike: Strike, after: int = 50) -> None:
        super().__init__(access)
        self._strike, self._after = strike, after

    def peek(self, upto: int, changes: int, *, pipeline: Pipeline) -> Generator[bytes]:
        for number, message in enumerate(super().peek(upto, changes, pipeline=pipeline)):
            if number == self._after:
                self._strike()
            yield message


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggingServer]:
    with logging_server(tmp_path_factory.mktemp("mortal")) as mariadb:
        yield mariadb


@pytest.fixture
def mortal_shop(mariadb: LoggingServer) -> MariaDb:
    """A table of 10 rows in a fresh database of a server that may be killed."""
    name = f"shop_{time.monotonic_ns()}"
    shop = replace(mariadb.database, database=name)
    mariadb.database.execute(f"CREATE DATABASE {name}")
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v longtext)")
    shop.execute("INSERT INTO t SELECT seq, 'before' FROM seq_1_to_10")
    return shop


@pytest.fixture
def mortal(mortal_shop: MariaDb, warehouse_db: str, tmp_path: Path) -> BinlogCapture:
    """That table is copied."""
    capture = BinlogCapture(mortal_shop, warehouse_db, tmp_path)
    assert capture.run().counts.changes == 0
    return capture


def write_much(shop: MariaDb) -> None:
    shop.execute(
        "BEGIN", "DELETE FROM t WHERE id <= 3", "UPDATE t SET id = id + 100000 WHERE id <= 5",
        f"INSERT INTO t SELECT seq, repeat('x', {LONG}) FROM seq_100_to_{99 + ROWS}", "COMMIT",
    )  # fmt: skip
    shop.execute("UPDATE t SET v = 'changed' WHERE id = 6")


CHANGES = 3 + 2 + ROWS + 1


def refuse_for_now(capture: BinlogCapture, warehouse: psycopg.Connection, strike: Strike) -> None:
    """A run beside which that happens ends with an error that passes, and has applied nothing."""
    with pytest.raises(SourceError) as caught:
        capture.run("the run", log=StruckLog(capture.shop.access, strike))
    assert caught.value.is_retryable
    assert copied(warehouse) == BEFORE


def go_on(capture: BinlogCapture, warehouse: psycopg.Connection) -> None:
    """The next try loses nothing, and counts nothing twice."""
    counts = capture.run("the run").counts
    assert (counts.changes, counts.deleted, counts.inserted, counts.updated) == (CHANGES, 5, ROWS + 2, 1)
    assert copied(warehouse) == told(capture.shop)
    assert capture.run().counts.changes == 0
    capture.shop.execute("DELETE FROM t WHERE id = 7")
    assert capture.run().counts.deleted == 1
    assert scalar(warehouse, "SELECT sum(rows_extracted) FROM etl_sync.sync_run WHERE kind = 'cdc'") == CHANGES + 1


LIMITS = {"at once": CaptureLimits(), "in pieces": CaptureLimits(batch_changes=20, piece_changes=300)}
RESTARTS = ("stop", "kill")


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
@pytest.mark.parametrize("checksum", ["CRC32", "NONE"])
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("how", RESTARTS)
def test_a_server_that_ends_while_its_log_is_read(
    how: str, limits: str, checksum: str, mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection
) -> None:
    mortal = mortal.but(limits=LIMITS[limits])
    mortal.shop.execute(f"SET GLOBAL binlog_checksum = {checksum}")
    write_much(mortal.shop)
    refuse_for_now(mortal, warehouse, getattr(mariadb, how))
    with pytest.raises(SourceError) as caught:
        mortal.log.flushed()  # it is waited for in vain
    assert caught.value.is_retryable
    mariadb.start()
    go_on(mortal, warehouse)


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
def test_a_session_that_is_killed(mortal: BinlogCapture, warehouse: psycopg.Connection) -> None:
    write_much(mortal.shop)

    def kill_the_session() -> None:
        ((number,),) = mortal.shop.execute(
            "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump' ORDER BY id DESC LIMIT 1"
        )
        mortal.shop.execute(f"KILL {number}")

    refuse_for_now(mortal, warehouse, kill_the_session)
    go_on(mortal, warehouse)


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
def test_a_line_that_is_cut_in_mid_transaction(mortal: BinlogCapture, warehouse: psycopg.Connection) -> None:
    write_much(mortal.shop)
    line = CutLine(mortal.shop.port)
    with line.laid() as port:
        distant = mortal.but(shop=replace(mortal.shop, port=port))
        for share in (0.02, 0.5, 0.99):
            line.cut_after = int(share * LONG * ROWS)
            with pytest.raises(SourceError) as caught:
                distant.run("the run")
            assert caught.value.is_retryable
            assert copied(warehouse) == BEFORE
        assert line.cuts == 3
        line.cut_after = None
        go_on(distant, warehouse)


@pytest.mark.scenario("C06")
@pytest.mark.parametrize("how", RESTARTS)
def test_files_that_a_restart_has_ended(
    how: str, mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection
) -> None:
    """A position at the very end of such a file, files without a change, changes on both sides."""
    for number in range(3):
        mortal.shop.execute(f"UPDATE t SET v = 'before restart {number}' WHERE id <= 2")
        if number == 1:
            assert mortal.run().counts.changes == 6
        for _ in range(2):
            getattr(mariadb, how)()
            mariadb.start()
        mortal.shop.execute(f"UPDATE t SET v = 'after restart {number}' WHERE id <= 2")
    assert mortal.run().counts.changes == 6
    assert copied(warehouse) == told(mortal.shop)
    getattr(mariadb, how)()
    mariadb.start()
    assert mortal.run().counts.changes == 0
    assert mortal.log.text(mortal.run().applied) == mortal.log.text(mortal.log.flushed())


@pytest.mark.scenario("C01")
@pytest.mark.parametrize("statement", ["START TRANSACTION", "SHOW STATUS", "COMMIT"])
def test_a_session_that_ends_while_a_copy_waits_to_see_what_the_log_has_told(
    statement: str, mortal: BinlogCapture
) -> None:
    def kill(connection: Connection, _: object, text: str, *more: object) -> None:
        if text.strip().startswith(statement):
            mortal.shop.execute(f"KILL {connection.connection.driver_connection.thread_id()}")  # type: ignore[union-attr]

    def make_engine() -> Engine:
        engine = mortal.shop.access.make_engine()
        event.listen(engine, "before_cursor_execute", kill)
        return engine

    with pytest.raises(SourceError) as caught:
        BinaryLog(DatabaseAccess(make_engine)).wait_until_visible()
    assert caught.value.is_retryable


# -- a crash while the log is written ---------------------------------------------------------------------


def crash_in_mid_transaction(mariadb: LoggingServer, shop: MariaDb) -> int:
    """Kill a server while it writes a transaction into its log; where in the file that begins."""
    file = mariadb.newest_file
    begins = file.stat().st_size

    def write() -> None:
        with suppress(pymysql.err.Error):
            insert = "INSERT INTO t SELECT seq, repeat('x', 500000) FROM seq_1_to_160"
            shop.execute("BEGIN", "DELETE FROM t", insert, "COMMIT")

    writing = threading.Thread(target=write)
    writing.start()
    while file.stat().st_size < begins + 5_000_000:
        time.sleep(0.0002)
    mariadb.kill()
    writing.join()
    return begins


def ends_of_events(content: bytes, begins: int) -> list[tuple[int, int]]:
    """The kinds and ends of whole events."""
    ends = []
    while begins + 19 <= len(content):
        kind, begins = content[begins + 4], int.from_bytes(content[begins + 13 : begins + 17], "little")
        if begins <= len(content):
            ends.append((kind, begins))
    return ends


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
@pytest.mark.parametrize("checksum", ["CRC32", "NONE"])
@pytest.mark.parametrize("where", ["in an event", "behind an event", "behind its deletes", "behind its number"])
def test_a_transaction_that_a_crash_has_cut_off_was_none(
    where: str, checksum: str, mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection
) -> None:
    """The server takes it back when it starts, and leaves in the log what it has written of it."""
    mortal.shop.execute(f"SET GLOBAL binlog_checksum = {checksum}", "UPDATE t SET v = 'last' WHERE id = 1")
    begins, file = crash_in_mid_transaction(mariadb, mortal.shop), mariadb.newest_file
    ends = ends_of_events(file.read_bytes(), begins)
    deletes = [end for kind, end in ends if kind in DELETES]
    if where != "in an event":
        end = {"behind an event": ends[-1][1], "behind its deletes": deletes[0], "behind its number": ends[0][1]}
        with file.open("r+b") as written:
            written.truncate(end[where])
    mariadb.start()
    assert len(told(mortal.shop)) == 10
    for limits in LIMITS.values():
        mortal.shop.execute("UPDATE t SET v = concat(v, ' and more') WHERE id <= 2")
        counts = mortal.but(limits=limits).run().counts
        assert (counts.inserted, counts.deleted, counts.errors) == (0, 0, 0)
        assert copied(warehouse) == told(mortal.shop)
    assert scalar(warehouse, "SELECT sum(rows_extracted) FROM etl_sync.sync_run WHERE kind = 'cdc'") == 5


@pytest.mark.scenario("C06")
def test_a_cut_that_nothing_tells_of_is_not_joined_to_what_follows(
    mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the next file did not say that the server had started before it."""
    begins, file = crash_in_mid_transaction(mariadb, mortal.shop), mariadb.newest_file
    with file.open("r+b") as written:
        written.truncate(ends_of_events(file.read_bytes(), begins)[-1][1])
    mariadb.start()
    mortal.shop.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    with monkeypatch.context() as patched:
        patched.setattr(WholeLog, "_first_since_restart", lambda *_: None)
        with pytest.raises(StateError, match=r"does not end in its file of the log.*resync"):
            mortal.run()
    assert copied(warehouse) == BEFORE
    mortal.run()
    assert copied(warehouse) == told(mortal.shop)


@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
def test_what_is_behind_a_crash_is_read_in_small_batches_from_anywhere(
    mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection
) -> None:
    for number in range(1, 8):
        mortal.shop.execute(f"UPDATE t SET v = 'changed' WHERE id = {number}")
    crash_in_mid_transaction(mariadb, mortal.shop)
    mariadb.start()
    for number in range(1, 8):
        mortal.shop.execute(f"DELETE FROM t WHERE id = {number}")
    report = mortal.but(limits=CaptureLimits(batch_changes=1)).run()
    assert (report.counts.changes, report.counts.transactions) == (14, 14)
    assert copied(warehouse) == told(mortal.shop)


@pytest.mark.scenario("C07")
def test_a_log_that_has_lost_what_was_applied_is_refused(
    mortal: BinlogCapture, mariadb: LoggingServer, warehouse: psycopg.Connection
) -> None:
    """The machine has crashed, too, and the server had not asked it to write its log to the disk (sync_binlog)."""
    ends = mariadb.newest_file.stat().st_size
    mortal.shop.execute("UPDATE t SET v = 'lost' WHERE id = 1")
    mortal.run()
    mariadb.kill()
    with mariadb.newest_file.open("r+b") as written:
        written.truncate(ends)
    mariadb.start()
    before = copied(warehouse)
    for _ in range(2):
        with pytest.raises(StateError, match=r"has removed its log of what follows.*resync"):
            mortal.run()
        assert copied(warehouse) == before
    mortal.run(resync=True)
    mortal.shop.execute("DELETE FROM t WHERE id = 2")
    mortal.run()
    assert copied(warehouse) == told(mortal.shop)
