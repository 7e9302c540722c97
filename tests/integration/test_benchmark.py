"""The benchmark, small: its contestants bring the rows over in every phase, and its reports can be made."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync import IncrementalSyncOperator, incremental_sync
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks import contestants, growth, measurements, report, rounds
from tests.benchmarks.contestants import CHAIN, FLOOR, ONE_TASK
from tests.benchmarks.measuring import ContestantError, run_measured
from tests.placing import quickest_place

ROWS = 600
CHUNK_ROWS = dict.fromkeys(rounds.CHUNK_ROWS, 100)


@pytest.fixture(scope="module")
def bench_server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(parent=quickest_place(), settings=rounds.SERVER_SETTINGS) as server:
        yield server


@pytest.fixture
def course(bench_server: EmbeddedPostgres, tmp_path: Path) -> rounds.Course:
    """A course without dlt, which is installed when it is wanted."""
    taking_part = contestants.prepare(tmp_path, with_airflow=False, with_dlt=False)
    return rounds.Course(
        server=bench_server, contestants=taking_part, rows=ROWS, changes=60, folder=tmp_path, chunk_rows=CHUNK_ROWS
    )


def test_every_contestant_is_measured_in_every_phase_and_has_the_same_rows(
    course: rounds.Course, tmp_path: Path
) -> None:
    results = list(course.run(rounds=1))
    assert [(result.phase, result.contestant, result.rows) for result in results] == [
        (phase, name, rows)
        for phase, rows in (("full", ROWS), ("delta", 60), ("nothing", 0))
        for name in (FLOOR, ONE_TASK, CHAIN)
    ]
    counted = {
        (result.phase, result.contestant): result.measured.answer["counts"]
        for result in results
        if result.contestant != FLOOR
    }
    for name in (ONE_TASK, CHAIN):
        assert counted["full", name] == counts(inserted=ROWS)
        assert counted["delta", name] == counts(inserted=30, updated=30)
        assert counted["nothing", name] == counts()
    assert all(0 < result.measured.seconds <= result.measured.process_seconds for result in results)
    assert all(result.measured.largest_bytes > 2**20 for result in results)
    lines = report.summarise(results)
    assert [line.ratio for line in lines if line.contestant == FLOOR] == [1, 1, 1]
    assert_reported(lines, tmp_path / "RESULTS.md")


@pytest.mark.slow
def test_airflow_takes_part(bench_server: EmbeddedPostgres, tmp_path: Path) -> None:
    taking_part = contestants.prepare(tmp_path, with_airflow=True, with_dlt=False)
    in_airflow = [contestant for contestant in taking_part if contestant.name in contestants.AIRFLOW]
    course = rounds.Course(
        server=bench_server,
        contestants=in_airflow,
        rows=ROWS,
        changes=60,
        folder=tmp_path,
        chunk_rows=CHUNK_ROWS,
        phases=["full"],
    )
    results = list(course.run(rounds=1))  # which compares the rows after each
    assert {result.contestant for result in results} == {"one_task_airflow", "chain_airflow"}


def test_a_contestant_that_loses_a_row_is_found_out(course: rounds.Course) -> None:
    results = course.run(rounds=1)
    next(results)
    target = course.server.databases.uri(f"bench_{FLOOR}")
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("UPDATE measurement SET weight = weight + 1 WHERE id = 5")
    with pytest.raises(rounds.UnequalError, match="after full, floor has 600 rows"):
        next(results)


def test_a_contestant_that_fails_is_heard(bench_server: EmbeddedPostgres, tmp_path: Path) -> None:
    command = contestants.prepare(tmp_path, with_airflow=False, with_dlt=False)[0].command
    orders = {"contestant": FLOOR, "phase": "full", "target": "host=127.0.0.1 port=1"}
    with pytest.raises(ContestantError, match=r"(?s)floor failed in full.*port 1"):
        run_measured(command, orders, folder=tmp_path, server_pid=bench_server.pid or 0)


def test_growth_is_measured_and_drawn(course: rounds.Course, tmp_path: Path) -> None:
    course = replace(course, contestants=course.contestants[:1], phases=["full", "delta"])
    measured = growth.measure(course, growth.sizes(900, smallest=300))
    assert {size: {result.rows for result in results} for size, results in measured.items()} == {
        300: {300, 60},
        900: {900, 60},
    }
    growth.draw(tmp_path / "growth.svg", measured)
    drawn = (tmp_path / "growth.svg").read_text()
    assert all(f">{title}<" in drawn for title in growth.NAMES.values())


def test_changes_are_spread_and_counted(source_db: str) -> None:
    measurements.create(source_db, 1_000)
    measurements.change(source_db, 1_000, 100)
    with psycopg.connect(source_db) as connection:
        changed = connection.execute("SELECT id FROM measurement WHERE note = 'changed' ORDER BY id").fetchall()
        (rows,) = connection.execute("SELECT count(*) FROM measurement").fetchone() or (0,)
    assert [row[0] for row in changed] == list(range(1, 1_000, 20))
    assert rows == 1_050


def counts(**given: int) -> dict[str, int]:
    all_counts = {"inserted": 0, "updated": 0, "skipped": 0, "errors": 0} | given
    return {"processed": sum(all_counts.values())} | all_counts


def test_chunks_are_those_that_users_get() -> None:
    given = {
        ONE_TASK: inspect.signature(IncrementalSyncOperator.__init__).parameters["chunk_rows"].default,
        CHAIN: inspect.signature(incremental_sync).parameters["chunk_rows"].default,
    }
    assert given == {name: rounds.CHUNK_ROWS[name] for name in given}


def assert_reported(lines: list[report.Line], path: Path) -> None:
    """What is measured replaces what was measured before, and the rest of the file stays."""
    path.write_text("# Results\n\nbefore\n\n" + report.BEGIN + "\nold\n" + report.END + "\n\nbehind\n")
    report.write(path, lines, rows=ROWS, rounds=1, chunk_rows=CHUNK_ROWS, server="18.4")
    text = path.read_text()
    assert text.startswith("# Results\n\nbefore\n") and text.endswith("\n\nbehind\n") and "\nold\n" not in text
    assert text.count("\n| full | ") == text.count("\n| nothing | ") == 3
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {len(report.HEADINGS) + 1}
    report.show(lines, ROWS, 1)
