"""One round of the benchmark of binary logs, in a process of its own."""

from __future__ import annotations

import cProfile
import pickle
import pstats
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from sqlalchemy import select

from airflow_etl_sync.state import cdc_pipelines
from airflow_etl_sync.state.tables import cdc_pipeline
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.binlog_world import BinlogCapture
from tests.scenarios.measured import peak_bytes

_READER = 4_000_000_001
"""The number of a reader, which no server has."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What to measure.

    :param file: of the log, in which the backlog begins
    :param place: where in it
    """

    capture: BinlogCapture
    file: str
    place: int
    profile: bool


@dataclass(frozen=True, slots=True)
class BinlogRound:
    """What was measured of one backlog.

    :param peek_seconds: to read it as changes
    :param capture_seconds: to have it in the destination
    :param reader_seconds: for mysql-replication to read it; None where it is not installed
    :param peak_bytes: the most memory that the process needed until it was captured, imports included
    """

    changes: int
    peek_seconds: float
    capture_seconds: float
    reader_seconds: float | None
    peak_bytes: int


def measure(orders: Orders) -> BinlogRound:
    """Read the backlog three times."""
    for library in ("adbc_driver_postgresql.dbapi", "pyarrow"):
        import_module(library)  # what capturing needs is not loaded while the clock runs
    capture = orders.capture
    peek_seconds = _peek(capture)
    began = time.monotonic()
    with cProfile.Profile() if orders.profile else nullcontext() as profiler:
        report = capture.run()
    capture_seconds = time.monotonic() - began
    if profiler:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    peak = peak_bytes()
    reader_seconds = None if find_spec("pymysqlreplication") is None else _read(orders, report.counts.changes)
    return BinlogRound(report.counts.changes, peek_seconds, capture_seconds, reader_seconds, peak)


def _peek(capture: BinlogCapture) -> float:
    log = capture.log
    log.look_up(capture.terms)
    engine = PostgresAccess(capture.warehouse_db).engine()
    with engine.begin() as connection:
        name = connection.scalar(select(cdc_pipeline.c.sync_key))
        pipeline = cdc_pipelines.locked(connection, str(name))
    engine.dispose()
    until = log.flushed()
    began = time.monotonic()
    with closing(log.peek(until, 10**9, pipeline=pipeline)) as messages:
        sum(1 for _ in messages)
    return time.monotonic() - began


def _read(orders: Orders, changes: int) -> float:
    """What mysql-replication needs to read all rows; told that a server is MariaDB, it would ignore the position.

    :raises AssertionError: where it has read others
    """
    from pymysqlreplication import BinLogStreamReader
    from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

    shop = orders.capture.shop
    login = {"host": shop.host, "port": shop.port, "user": shop.login, "passwd": shop.password}
    began = time.monotonic()
    stream = BinLogStreamReader(
        connection_settings=login, server_id=_READER, log_file=orders.file, log_pos=orders.place, resume_stream=True,
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
    )  # fmt: skip
    with closing(stream):
        rows = sum(len(event.rows) for event in stream)
    seconds = time.monotonic() - began
    assert rows == changes, (rows, changes)
    return seconds


if __name__ == "__main__":
    from tests.benchmarks.binlog_round import measure as measure_as_known  # by the names under which it is pickled

    asked = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(measure_as_known(asked)))
