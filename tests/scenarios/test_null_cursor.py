"""S05: rows without a cursor value are included, left out, or refused, and are never loaded for ever."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.state import watermarks
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar, watermark

PLACES: dict[str, tuple[Form, list[int]]] = {
    "first": ("chain", [1, 2]),
    "between": ("one_task", [4, 7]),
    "only": ("chain", list(range(1, 11))),
}


@pytest.fixture(params=PLACES)
def form(request: pytest.FixtureRequest) -> Form:
    return PLACES[request.param][0]


@pytest.fixture
def nulls(form: Form, request: pytest.FixtureRequest, source: psycopg.Connection) -> int:
    """Ten rows, of which so many have no cursor value."""
    ids = PLACES[request.node.callspec.params["form"]][1]
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour' FROM generate_series(1, 10) AS i")
    source.execute("UPDATE t SET c = NULL WHERE id = ANY(%s)", [ids])
    return len(ids)


@pytest.mark.scenario("S05")
def test_included_they_arrive_and_are_not_loaded_again(
    form: Form, nulls: int, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.but(chunk_rows=6)
    assert world.run(form) == Counts(inserted=10)
    before = scalar(warehouse, "SELECT array_agg(xmin::text || ctid::text ORDER BY id)::text FROM t")
    assert world.run(form) == Counts(skipped=nulls)
    assert world.run(form) == Counts(skipped=nulls)
    assert scalar(warehouse, "SELECT array_agg(xmin::text || ctid::text ORDER BY id)::text FROM t") == before

    source.execute("INSERT INTO t VALUES (11, NULL), (12, now())")
    source.execute("UPDATE t SET v = 'changed' WHERE c IS NULL AND id < 11")
    assert world.run(form) == Counts(inserted=2, updated=nulls)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S05")
def test_excluded_they_never_arrive(
    form: Form, nulls: int, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.streaming(on_cursor_null="exclude").but(chunk_rows=6)
    assert world.run(form) == Counts(inserted=10 - nulls)
    source.execute("INSERT INTO t VALUES (11, NULL), (12, now())")
    assert world.run(form) == Counts(inserted=1)
    assert rows(warehouse) == [row for row in rows(source) if ",," not in row[0]]


@pytest.mark.scenario("S05")
def test_refused_they_stop_the_run_before_anything_moves(
    form: Form, nulls: int, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.streaming(on_cursor_null="raise")
    with pytest.raises(DataError, match="on_cursor_null"):
        world.run(form)
    assert watermark(warehouse) is None
    assert scalar(warehouse, "SELECT to_regclass('t')") is None

    source.execute("UPDATE t SET c = now() WHERE c IS NULL")
    assert world.run(form) == Counts(inserted=10)
    stored = watermark(warehouse)
    source.execute("INSERT INTO t VALUES (11, NULL)")
    with pytest.raises(DataError, match="on_cursor_null"):
        world.run(form)
    assert watermark(warehouse) == stored


@pytest.fixture
def changed(world: World, source: psycopg.Connection) -> World:
    """A synced table of which 25 rows without a cursor and 35 with one have changed since."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint, v text)")
    source.execute("INSERT INTO t SELECT i, CASE WHEN i > 25 THEN i END FROM generate_series(1, 100) AS i")
    world = world.but(chunk_rows=10)
    assert world.run() == Counts(inserted=100)
    source.execute("UPDATE t SET c = c + 100, v = 'changed' WHERE id <= 60")
    return world


@pytest.mark.scenario("S05")
def test_they_are_read_first_and_once(changed: World) -> None:
    with changed.destination.engine.begin() as connection:
        stored = watermarks.read(connection, "t")
    reader = changed.reader
    window = reader.open_window(stored, changed.rules).window
    cursors = [value for batch in reader.read(window, None) for value in batch.column("c").to_pylist()]
    assert cursors == [None] * 25 + [100, *range(126, 161)]


@pytest.mark.scenario("S05")
@pytest.mark.parametrize(("chunks", "left"), [(1, 51), (2, 41), (3, 36), (5, 16)])
@pytest.mark.parametrize("form", FORMS)
def test_a_killed_run_reads_none_of_them_twice_and_misses_none(
    form: Form, chunks: int, left: int, changed: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The first three chunks are of rows without a cursor, and the third, of five, ends them."""
    step = "extract" if form == "chain" else "sync"
    write = "core.staging:Staging.write"
    merge = "systems.postgres.destination:PostgresDestination.merge"  # staging works ahead
    failpoint = f"before {write if form == 'chain' else merge} {chunks + 1}"
    changed.run_killed(step, failpoint, "killed")
    reader = Counted(changed)
    assert changed.run(form, "killed", reader) == Counts(updated=60, skipped=1)
    assert reader.rows == left
    assert rows(warehouse) == rows(source)
