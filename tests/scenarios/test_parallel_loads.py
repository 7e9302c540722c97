"""S13: loads at the same time, of one extraction and of two, wait for each other but never in a circle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, Extraction, LoadRules, Stream, TableName, WindowRules
from airflow_etl_sync.errors import DataError
from tests.scenarios.world import World, rows, scalar

pytestmark = pytest.mark.scenario("S13")

ROWS = 5_000
TARGET = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL, v text)"
STAND_STILL = """
CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7);
    RETURN NULL;
END
$$;
CREATE TRIGGER stand_still BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION stand_still()
"""
STANDING_STILL = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@contextmanager
def starting_together(warehouse: psycopg.Connection, loads: int) -> Iterator[None]:
    """Let so many loads begin their merges at one moment."""
    warehouse.execute("SELECT pg_advisory_lock(7)")
    yield
    deadline = time.monotonic() + 60
    while scalar(warehouse, STANDING_STILL) < loads:
        assert time.monotonic() < deadline, "the loads do not begin"
        time.sleep(0.02)
    warehouse.execute("SELECT pg_advisory_unlock(7)")


def test_loads_of_the_same_keys_in_opposite_orders_do_not_deadlock(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Each is read in the order of its cursor: without an order of their own they would lock from both ends."""
    warehouse.execute(TARGET)
    warehouse.execute("INSERT INTO t SELECT i, '2000-01-01', 'old' FROM generate_series(1, %s) AS i", [ROWS])
    warehouse.execute(STAND_STILL)
    for name, step in {"up": 1, "down": -1}.items():
        source.execute(TARGET.replace("TABLE t", f"TABLE {name}"))
        source.execute(
            f"INSERT INTO {name} SELECT i, now() - interval '1 day' + %s * i * interval '1 second', %s"
            " FROM generate_series(1, %s) AS i",
            [step, name, ROWS],
        )
    worlds = [
        world.but(
            stream=Stream(sync_key=name, cursor_field="c", table=TableName(name)),
            rules=WindowRules(initial_value="2001-01-01"),
            load_rules=LoadRules(conflict="latest_wins"),
            chunk_rows=ROWS,
        )
        for name in ("up", "down")
    ]
    extractions = [each.extract() for each in worlds]
    with ThreadPoolExecutor(2) as pool:
        with starting_together(warehouse, loads=2):
            loads = [pool.submit(each.load, extraction) for each, extraction in zip(worlds, extractions, strict=True)]
        counts = [load.result() for load in loads]
    assert [each.processed for each in counts] == [ROWS, ROWS]
    assert scalar(warehouse, DEADLOCKS) == 0
    assert scalar(warehouse, "SELECT array_agg(DISTINCT v) FROM t") == ["up"], "it is the newer everywhere"


def test_loads_of_one_extraction_do_not_deadlock(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TARGET)
    source.execute("INSERT INTO t SELECT i, now(), 'v' || i FROM generate_series(1, %s) AS i", [ROWS])
    world = world.but(chunk_rows=200)
    for expected in (Counts(inserted=ROWS), Counts(updated=ROWS)):
        extraction = world.extract()
        with ThreadPoolExecutor(5) as pool:
            counts = sum(pool.map(world.load, extraction.parts(5)), Counts())
        assert counts == expected
        assert world.advance(extraction).counts == expected
        assert rows(warehouse) == rows(source)
        source.execute("UPDATE t SET v = v || '!', c = clock_timestamp() + random() * interval '1 second'")
        source.execute("SELECT pg_sleep(1.1)")
    assert scalar(warehouse, DEADLOCKS) == 0


def test_loads_of_one_extraction_do_not_pass_its_limit_of_errors_together(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Each merges two bad rows, and knows nothing of the other's when it begins."""
    source.execute(TARGET)
    source.execute("INSERT INTO t SELECT i, now(), 'v' || i FROM generate_series(1, %s) AS i", [ROWS])
    source.execute("UPDATE t SET v = 'bad' WHERE id IN (1, 2, %s - 1, %s)", [ROWS, ROWS])
    warehouse.execute(TARGET.replace("v text", "v text CHECK (v <> 'bad')"))
    warehouse.execute(STAND_STILL)
    world = world.but(chunk_rows=ROWS // 2, load_rules=LoadRules(max_errors=3))
    extraction = world.extract()

    def refusal(part: Extraction) -> str:
        try:
            world.load(part)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        with starting_together(warehouse, loads=2):
            loads = [pool.submit(refusal, part) for part in extraction.parts(2)]
        refused, loaded = sorted((each.result() for each in loads), key=len, reverse=True)
    assert not loaded and "2 rows of one chunk" in refused and "only 1 more may be: mend" in refused
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.failed_record") == 2
    assert scalar(warehouse, "SELECT count(*) FROM t") == ROWS // 2 - 2
    assert scalar(warehouse, DEADLOCKS) == 0
