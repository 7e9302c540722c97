"""The benchmark of binary logs: its parts work; its times are nobody's promise here."""

from __future__ import annotations

from pathlib import Path

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks.binlog import BinlogBacklog, middle, table
from tests.benchmarks.binlog_round import BinlogRound
from tests.binlog import logging_mariadb
from tests.placing import quickest_place

CHANGES = 2_000


def test_a_backlog_is_captured_as_often_as_it_is_measured(tmp_path: Path) -> None:
    with logging_mariadb(tmp_path / "mariadb") as mariadb, EmbeddedPostgres(parent=quickest_place()) as postgres:
        backlog = BinlogBacklog(mariadb, postgres, tmp_path, CHANGES)
        backlog.make()
        rounds = [backlog.measure() for _ in range(2)]
    for each in rounds:
        assert each.changes == CHANGES
        assert min(each.peek_seconds, each.capture_seconds) > 0
        assert each.peak_bytes > 10_000_000
    assert "| captured, end to end |" in table(middle(rounds))


def test_the_middle_is_told() -> None:
    rounds = [BinlogRound(1_000, 1.0 * factor, 4.0 * factor, 8.0 * factor, 10**8) for factor in (1, 3, 2)]
    assert table(middle(rounds)).splitlines()[2:] == [
        "| mysql-replication reads the log, and nothing else | 16.00 | 62 | 2.00 |",
        "| the log read, as changes | 2.00 | 500 | 0.25 |",
        "| captured, end to end | 8.00 | 125 | 1.00 |",
        "",
        "1,000 changes; peak memory 100 MB",
    ]
    without = [BinlogRound(1_000, 1.0, 4.0, None, 10**8)]
    assert "mysql-replication" not in table(middle(without))
