"""S17: a failed record is loaded once what was wrong has been mended, and once only."""

from __future__ import annotations

from itertools import count

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity
from airflow_etl_sync.journey.failed_records import replay
from airflow_etl_sync.state import failed_records
from tests.scenarios.world import FORMS, Form, World, rows, scalar, watermark

pytestmark = pytest.mark.scenario("S17")

_replays = count()
DDL = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, n {}, v text, at date, raw bytea, tags text[])"


@pytest.fixture
def failing(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> World:
    """Ten rows, three of which the target refuses."""
    source.execute(DDL.format("text"))
    warehouse.execute(DDL.format("integer"))
    source.execute("""
        INSERT INTO t
        SELECT i, now() - interval '1 hour', CASE WHEN i > 7 THEN 'n' || i ELSE i::text END, 'v', 'infinity', '\\x00ff',
            ARRAY['a,b', NULL, 'ü']
        FROM generate_series(1, 10) AS i
    """)
    return world.but(load_rules=LoadRules(max_errors=3))


def replayed(world: World, warehouse_db: str) -> Counts:
    destination = world.destination
    with destination.engine.begin() as connection:
        found = failed_records.find_open(connection, "t")
    return replay(destination, found, RunIdentity("cli", "replay", f"replay {next(_replays)}"))


@pytest.mark.parametrize("form", FORMS)
def test_mended_in_the_table_they_arrive_once(
    form: Form, failing: World, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    assert failing.run(form) == Counts(inserted=7, errors=3)
    stored = watermark(warehouse)
    assert replayed(failing, warehouse_db) == Counts(errors=3), "nothing has been mended yet"
    assert scalar(warehouse, "SELECT array_agg(failures ORDER BY id) FROM etl_sync.failed_record") == [2, 2, 2]

    warehouse.execute("ALTER TABLE t ALTER COLUMN n TYPE text")
    assert replayed(failing, warehouse_db) == Counts(inserted=3)
    assert rows(warehouse) == rows(source)
    assert watermark(warehouse) == stored
    assert scalar(warehouse, "SELECT array_agg(DISTINCT closed_by) FROM etl_sync.failed_record") == ["replay"]
    assert replayed(failing, warehouse_db) == Counts()


def test_mended_in_the_payload_they_arrive(failing: World, warehouse: psycopg.Connection, warehouse_db: str) -> None:
    failing.run()
    warehouse.execute("""
        UPDATE etl_sync.failed_record
        SET payload = jsonb_set(payload::jsonb, '{n}', '"88"')::json
        WHERE key ->> 0 = '8'
    """)
    assert replayed(failing, warehouse_db) == Counts(inserted=1, errors=2)
    assert warehouse.execute("SELECT n, at::text, raw, tags FROM t WHERE id = 8").fetchone() == (
        88,
        "infinity",
        b"\x00\xff",
        ["a,b", None, "ü"],
    )
    open_keys = "SELECT array_agg(key ->> 0 ORDER BY id) FROM etl_sync.failed_record WHERE closed_at IS NULL"
    assert sorted(scalar(warehouse, open_keys)) == ["10", "9"]


def test_an_old_payload_never_replaces_a_newer_row(
    failing: World, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    failing.run()
    with failing.destination.engine.begin() as connection:
        seen_before = failed_records.find_open(connection, "t")
    source.execute("UPDATE t SET n = '8', v = 'newer', c = now() WHERE id = 8")
    failing.run()
    warehouse.execute("ALTER TABLE t ALTER COLUMN n TYPE text")
    counts = replay(failing.destination, seen_before, RunIdentity("cli", "replay", "late"))
    assert counts == Counts(inserted=2)
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 8") == "newer"


def test_a_discarded_row_waits_for_its_column(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, w numeric(10,2))")
    warehouse.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz)")
    source.execute("INSERT INTO t VALUES (1, '2024-01-01', NULL), (2, '2024-01-01', 2.50)")
    world = world.but(load_rules=LoadRules(schema_contract="discard_row", max_errors=1))
    assert world.run() == Counts(inserted=1, errors=1)
    assert replayed(world, warehouse_db) == Counts(errors=1)
    warehouse.execute("ALTER TABLE t ADD COLUMN w numeric(10,2)")
    assert replayed(world, warehouse_db) == Counts(inserted=1)
    assert rows(warehouse) == rows(source)


def test_a_sync_goes_on_beside_replays(
    failing: World, source: psycopg.Connection, warehouse: psycopg.Connection, warehouse_db: str
) -> None:
    failing.run()
    source.execute("INSERT INTO t VALUES (11, now(), '11')")
    extraction = failing.extract()
    replayed(failing, warehouse_db)
    counts = failing.load(extraction)
    assert failing.advance(extraction).counts == counts
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE id = 11") == 1
