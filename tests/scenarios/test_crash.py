"""S12, S15: a process that is killed anywhere leaves nothing that an ordinary rerun does not mend.

The stream's cursor is a number that every change raises, so that a clean run's watermark is known to the digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, Stream, TableName
from tests.scenarios.world import Counted, Form, World, rows, scalar, watermark

CLEAN = Counts(inserted=900, updated=600, skipped=1)
RUN = "the run that is killed"

EXTRACT = [
    "after state.runs:start 1",
    "before core.staging:Staging.write 1",
    "before state.ledger:record_extracted 2",
    "before core.staging:Staging.write 3",
    "before state.runs:mark_extracted 1",
    "at the end",
]
LOAD = [
    "before systems.postgres.destination:PostgresDestination.stage 1",
    "before systems.postgres.destination:PostgresDestination.merge 2",
    "after state.ledger:record_loaded 2",
    "before systems.postgres.destination:PostgresDestination.stage 3",
    "at the end",
]
ADVANCE = [
    "after state.runs:mark_done 1",
    "before core.staging:Staging.remove 1",
    "at the end",
]
ONE_TASK = [
    "after state.runs:start 1",
    "before systems.postgres.destination:PostgresDestination.stage 1",
    "after systems.postgres.destination:PostgresDestination.stage 2",
    "before state.ledger:record_extracted 2",
    "before systems.postgres.destination:PostgresDestination.stage 3",
    "before state.runs:mark_extracted 1",
    "after state.runs:mark_done 1",
]


@pytest.fixture
def changed(world: World, source: psycopg.Connection) -> World:
    """A table of 1,500 rows that has been synced once, and then had 600 changed and 900 added."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint NOT NULL, v text)")
    source.execute("INSERT INTO t SELECT i, i, 'new' FROM generate_series(1, 1500) AS i")
    world = world.but(stream=Stream(sync_key="t", cursor_field="c", table=TableName("t")), chunk_rows=700)
    assert world.run() == Counts(inserted=1500)
    source.execute("UPDATE t SET c = 1500 + id, v = 'changed' WHERE id <= 600")
    source.execute("INSERT INTO t SELECT i, 1000 + i, 'new' FROM generate_series(1501, 2400) AS i")
    return world


@pytest.fixture
def assert_clean(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> Callable[[], None]:
    """Whether everything is as if nothing had happened: rows, watermark, counts."""

    def check() -> None:
        assert rows(warehouse) == rows(source)
        assert watermark(warehouse) == ("integer", "3400")
        query = "SELECT inserted, updated, skipped, errors FROM etl_sync.sync_run WHERE status = 'done' AND run_id = %s"
        assert warehouse.execute(query, [RUN]).fetchall() == [astuple(CLEAN)]

    return check


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("failpoint", EXTRACT)
def test_killed_in_extract(
    failpoint: str, changed: World, warehouse: psycopg.Connection, assert_clean: Callable[[], None]
) -> None:
    changed.run_killed("extract", failpoint, RUN)
    assert watermark(warehouse) == ("integer", "1500")
    assert changed.run("chain", RUN) == CLEAN
    assert_clean()


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("failpoint", LOAD)
def test_killed_in_load(
    failpoint: str, changed: World, warehouse: psycopg.Connection, assert_clean: Callable[[], None]
) -> None:
    extraction = changed.extract(RUN)
    changed.run_killed("load", failpoint, RUN, extraction)
    assert watermark(warehouse) == ("integer", "1500")
    assert changed.load(extraction, try_number=2) == CLEAN
    assert changed.advance(extraction).counts == CLEAN
    assert_clean()


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("failpoint", ADVANCE)
def test_killed_in_advance(failpoint: str, changed: World, assert_clean: Callable[[], None]) -> None:
    extraction = changed.extract(RUN)
    changed.load(extraction)
    changed.run_killed("advance", failpoint, RUN, extraction)
    assert changed.advance(extraction).counts == CLEAN
    assert not list(changed.root.iterdir())
    assert_clean()


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("failpoint", ONE_TASK)
def test_killed_in_one_task(
    failpoint: str, changed: World, warehouse: psycopg.Connection, assert_clean: Callable[[], None]
) -> None:
    changed.run_killed("sync", failpoint, RUN)
    assert watermark(warehouse) == ("integer", "1500")
    assert changed.run("one_task", RUN) == CLEAN
    assert_clean()


@pytest.mark.scenario("S12")
def test_the_staging_table_of_a_killed_load_is_swept_once_its_run_is_closed(
    changed: World, warehouse: psycopg.Connection
) -> None:
    staged = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%' AND relnamespace = 'etl_sync'::regnamespace"
    changed.run_killed("sync", "after systems.postgres.destination:PostgresDestination.stage 2", RUN)
    assert scalar(warehouse, staged) >= 1
    warehouse.execute("UPDATE etl_sync.sync_run SET status = 'abandoned' WHERE run_id = %s", [RUN])
    changed.run()
    assert scalar(warehouse, staged) == 0


@pytest.mark.scenario("S12")
def test_killed_after_its_last_commit_a_task_finds_nothing_left_to_do(
    changed: World, assert_clean: Callable[[], None]
) -> None:
    changed.run_killed("sync", "at the end", RUN)
    assert changed.run("one_task", "a rerun") == Counts(skipped=1)
    assert_clean()


@pytest.mark.scenario("S15")
@pytest.mark.parametrize(("moment", "form"), [("before", "chain"), ("after", "one_task")])
def test_a_first_sync_killed_at_60_percent_reads_at_most_one_chunk_again(
    moment: str, form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), v text)")
    source.execute("INSERT INTO t SELECT -i, now() - interval '1 hour' FROM generate_series(1, 10000) AS i")
    step = "extract" if form == "chain" else "sync"
    world.run_killed(step, f"{moment} state.ledger:record_extracted 6", RUN)
    reader = Counted(world)
    assert world.run(form, RUN, reader) == Counts(inserted=10_000)
    assert reader.rows <= 4_000 + world.chunk_rows
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S15")
def test_a_query_read_again_behind_its_last_chunk_repeats_only_ties(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, now() FROM generate_series(1, 3000) AS i")
    world = world.streaming(table=None, sql="SELECT * FROM t", primary_key=("id",))
    reader = _Stopping(world)
    with pytest.raises(_StoppedError):
        world.run("one_task", RUN, reader)
    again = Counted(world)
    counts = world.run("one_task", RUN, again)
    assert (counts.inserted, counts.skipped) == (3000, 1)
    assert again.rows == 2001
    assert rows(warehouse) == rows(source)


class _StoppedError(Exception):
    pass


class _Stopping(Counted):
    """A source whose task ends when the position behind the second chunk is asked for."""

    def position(self, batch: Any) -> Any:
        position = super().position(batch)
        if position["values"][0] == "2000":
            raise _StoppedError
        return position
