"""A window that stands inside the author's query: the same rows, found where an outer condition finds none."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.state import watermarks
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar

OUTER = "SELECT o.id, o.c, u.email FROM o LEFT JOIN u ON u.id = o.u"
INNER = f"{OUTER} WHERE :window(o.c)"


@pytest.fixture
def shop(world: World, source: psycopg.Connection) -> World:
    source.execute("CREATE TABLE u (id int PRIMARY KEY, email text, c timestamptz)")
    source.execute("CREATE TABLE o (id int PRIMARY KEY, u int, c timestamptz)")
    source.execute("CREATE INDEX ON o (c)")
    source.execute("INSERT INTO u SELECT i, 'u' || i, '2024-01-01' FROM generate_series(1, 10) AS i")
    source.execute("""
        INSERT INTO o SELECT i, i % 10 + 1, timestamptz '2024-01-01 00:00+00' + i * interval '1 hour'
        FROM generate_series(1, 300) AS i
    """)
    source.execute("UPDATE o SET c = NULL WHERE id IN (1, 150)")
    return world.streaming(table=None, sql=INNER, primary_key=("id",))


def sent(source: psycopg.Connection) -> list[tuple[object, ...]]:
    return source.execute(f"SELECT t::text FROM ({OUTER}) AS t ORDER BY 1").fetchall()


@pytest.mark.scenario("S02")
@pytest.mark.scenario("S05")
@pytest.mark.parametrize("form", FORMS)
def test_rows_and_counts_are_those_of_the_outer_form(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = shop.but(chunk_rows=70)
    assert world.run(form) == Counts(inserted=300)
    source.execute("UPDATE o SET u = 1, c = now() WHERE id <= 20 AND id > 1")
    inner = Counted(world)
    assert world.run(form, reader=inner).updated == 19
    outer = Counted(world.streaming(sql=OUTER))
    world.streaming(sql=OUTER).run(form, reader=outer)
    assert inner.rows == outer.rows == 21
    assert rows(warehouse) == sent(source)


@pytest.mark.parametrize("form", FORMS)
def test_a_backfill_reads_its_range(form: Form, shop: World, warehouse: psycopg.Connection) -> None:
    rules = WindowRules(range_start="2024-01-02 00:00+00", range_end="2024-01-03 00:00+00")
    assert shop.but(rules=rules).run(form) == Counts(inserted=24)
    assert scalar(warehouse, "SELECT array_agg(DISTINCT c::date) FROM t") is not None


@pytest.mark.parametrize("form", FORMS)
def test_two_places_bring_what_changed_in_either_table(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = shop.streaming(sql=f"{OUTER} WHERE :window(o.c) OR :window(u.c)")
    world.run(form)
    source.execute("UPDATE u SET email = 'new', c = now() WHERE id = 3")
    assert world.run(form).updated == 30
    assert rows(warehouse) == sent(source)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
def test_killed_and_run_again_it_resumes(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = shop.but(chunk_rows=40)
    world.run(form)
    source.execute("UPDATE o SET u = 1, c = now() + id * interval '1 second' WHERE c IS NOT NULL")
    step = "sync" if form == "one_task" else "extract"
    world.run_killed(step, "after state.ledger:record_extracted 4", "again")
    world.run(form, run="again")
    assert rows(warehouse) == sent(source)


def test_an_integer_cursor_goes_with_it(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE o (c bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)")
    source.execute("INSERT INTO o (v) SELECT 'v' FROM generate_series(1, 50)")
    world = world.streaming(table=None, sql="SELECT * FROM o WHERE :window(o.c);", primary_key=("c",))
    assert world.run() == Counts(inserted=50)
    source.execute("INSERT INTO o (v) VALUES ('w')")
    reader = Counted(world)
    assert world.run(reader=reader).inserted == 1
    assert reader.rows <= 2


def test_an_index_serves_where_a_condition_around_the_query_reaches_none(
    shop: World, source: psycopg.Connection
) -> None:
    source.execute("""
        INSERT INTO o SELECT i, 1, timestamptz '2024-03-01 00:00+00' + i * interval '1 minute'
        FROM generate_series(1000, 60000) AS i
    """)
    source.execute("ANALYZE o")
    latest = "SELECT *, row_number() OVER (ORDER BY id) AS place FROM o"
    plans = [plan(shop.streaming(sql=query)) for query in (latest, f"{latest} WHERE :window(o.c)")]
    assert ["o_c_idx" in each for each in plans] == [False, True]


def plan(world: World) -> str:
    """How the second window is read."""
    world.run()
    with world.destination.engine.begin() as connection:
        stored = watermarks.read(connection, "t")
    reader = world.reader
    window = reader.open_window(stored, world.rules).window
    assert window.low
    with psycopg.connect(world.source_db) as connection:
        connection.execute("SELECT set_config('etl_sync.low', %s, true)", [window.low.text])
        return str(connection.execute(f"EXPLAIN {reader._statement('window', window, None)}").fetchall())


def test_a_place_without_an_expression_is_refused(shop: World) -> None:
    with pytest.raises(ConfigurationError, match=r"write it as in :window\(orders.updated_at\)"):
        shop.streaming(sql=f"{OUTER} WHERE :window(").run()


@pytest.mark.scenario("S28")
def test_a_comment_or_a_semicolon_at_the_end_does_no_harm(shop: World, warehouse: psycopg.Connection) -> None:
    assert shop.streaming(sql=f"{INNER}; -- the end").run() == Counts(inserted=300)
