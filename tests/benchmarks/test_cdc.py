"""The CDC benchmark's parts work; its times are nobody's promise here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks.cdc import Backlog, middle, table
from tests.benchmarks.cdc_round import Round
from tests.placing import quickest_place

CHANGES = 2_000


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(parent=quickest_place()) as server:
        yield server


def test_a_backlog_is_captured_as_often_as_it_is_measured(server: EmbeddedPostgres, tmp_path: Path) -> None:
    backlog = Backlog(server, tmp_path, CHANGES)
    backlog.make()
    rounds = [backlog.measure() for _ in range(2)]
    for each in rounds:
        assert (each.changes, each.rows) == (CHANGES, CHANGES)
        assert min(each.peek_seconds, each.decode_seconds, each.capture_seconds) > 0
        assert each.peak_bytes > 10_000_000
    assert "| captured, end to end |" in table(middle(rounds))


def test_the_middle_is_told() -> None:
    rounds = [Round(1_000, 1_000, 1.0 * factor, 2.0 * factor, 8.0 * factor, 10**8) for factor in (1, 3, 2)]
    assert table(middle(rounds)).splitlines()[2:] == [
        "| peek alone | 2.00 | 500 | 0.5 |",
        "| peek and decode: the floor | 4.00 | 250 | 1.0 |",
        "| captured, end to end | 16.00 | 62 | 4.0 |",
        "",
        "1,000 changes; peak memory 100 MB",
    ]
