"""How fast a backlog of changes is captured: ``python -m tests.benchmarks.cdc [--apply history] [--profile]``.

It starts a PostgreSQL of its own and needs nothing else.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg

from airflow_etl_sync.cdc.pgoutput import Decoder, transactions
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.scenarios.streaming import Capture, same

TABLE = """
CREATE TABLE t (
    id bigint PRIMARY KEY, customer bigint NOT NULL, status text NOT NULL, amount numeric(12, 2) NOT NULL,
    note text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
)
"""


def _prepare(capture: Capture, changes: int) -> None:
    """A table that both have, and a backlog: half inserts, four tenths updates, one tenth deletes, 1,000 at a time."""
    with psycopg.connect(capture.source_db, autocommit=True) as source:
        source.execute(TABLE)
        source.execute(
            "INSERT INTO t SELECT i, i %% 1000, 'new', i / 7.0, md5(i::text) FROM generate_series(1, %s) AS i",
            [changes],
        )
        capture.set_up()
        if capture.apply == "upsert":
            _copy(capture)
        first_copy = capture.copy if capture.apply == "history" else None
        capture.run(first_copy=first_copy)  # the pipeline is there, and everything is imported
        for first in range(1, changes // 2 + 1, 500):
            with source.transaction():
                source.execute(
                    "INSERT INTO t SELECT i, i %% 1000, 'new', i / 7.0, md5(i::text) FROM generate_series(%s, %s) AS i",
                    [changes + first, changes + first + 499],
                )
                low = int(first * 0.8)
                source.execute(
                    "UPDATE t SET status = 'paid', updated_at = now() WHERE id BETWEEN %s AND %s", [low, low + 399]
                )
                high = changes - first // 5
                source.execute("DELETE FROM t WHERE id BETWEEN %s AND %s", [high - 99, high])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--apply", choices=("upsert", "history"), default="upsert")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    with EmbeddedPostgres() as server, tempfile.TemporaryDirectory() as root:
        names = server.create_database("source"), server.create_database("warehouse")
        capture = Capture(*names, "benchmark", Path(root), apply=given.apply)
        _prepare(capture, given.changes)
        _measure(capture, profile=given.profile)
        with psycopg.connect(names[0]) as source, psycopg.connect(names[1]) as warehouse:
            assert given.apply == "history" or same(source, warehouse)


def _copy(capture: Capture) -> None:
    """Let the warehouse have the rows as they were."""
    with (
        psycopg.connect(capture.source_db) as source,
        psycopg.connect(capture.warehouse_db, autocommit=True) as warehouse,
    ):
        warehouse.execute(TABLE)
        query = "COPY (SELECT * FROM t) TO STDOUT"
        with source.cursor().copy(query) as read, warehouse.cursor().copy("COPY t FROM STDIN") as write:
            for block in read:
                write.write(block)
        warehouse.execute("ANALYZE t")


def _measure(capture: Capture, *, profile: bool) -> None:
    slot = capture.slot
    until = slot.flushed()
    began = time.monotonic()
    with closing(slot.peek(until, 10**9)) as messages:
        peeked = sum(1 for _ in messages)
    _tell("peek alone", peeked, time.monotonic() - began)
    began = time.monotonic()
    with closing(slot.peek(until, 10**9)) as messages:
        decoded = sum(1 for _ in transactions(messages, Decoder()))
    _tell("peek and decode", decoded, time.monotonic() - began)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    began = time.monotonic()
    report = capture.run()
    seconds = time.monotonic() - began
    profiler.disable()
    _tell("captured, end to end", report.counts.changes, seconds)
    print(report.counts)
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def _tell(what: str, changes: int, seconds: float) -> None:
    print(f"{what:22} {changes:>9,} in {seconds:6.2f} s: {changes / seconds:>9,.0f} a second")


if __name__ == "__main__":
    main()
