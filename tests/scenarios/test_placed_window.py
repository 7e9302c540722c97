"""A window that stands inside the author's query: the same rows, found where an outer condition finds none."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import Counts, CursorValue, WindowRules
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.state import watermarks
from airflow_etl_sync.systems.postgres import sql
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar, watermark

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
    around = world.streaming(sql=OUTER, sync_key="around")
    assert world.run(form) == Counts(inserted=300)
    assert around.run(form) == Counts(skipped=300)
    source.execute("UPDATE o SET u = 1, c = now() WHERE id <= 20 AND id > 1")
    inner, outer = Counted(world), Counted(around)
    assert world.run(form, reader=inner) == Counts(updated=19, skipped=2)
    assert around.run(form, reader=outer) == Counts(skipped=21)
    assert inner.rows == outer.rows == 21
    assert rows(warehouse) == sent(source)


@pytest.mark.parametrize("form", FORMS)
def test_a_backfill_reads_its_range(form: Form, shop: World, warehouse: psycopg.Connection) -> None:
    rules = WindowRules(range_start="2024-01-02 00:00+00", range_end="2024-01-03 00:00+00")
    assert shop.but(rules=rules).run(form) == Counts(inserted=24)
    assert (
        scalar(warehouse, "SELECT count(*) FROM t WHERE c >= '2024-01-02 00:00+00' AND c < '2024-01-03 00:00+00'") == 24
    )


@pytest.mark.parametrize("form", FORMS)
def test_two_places_bring_what_changed_in_either_table(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = shop.streaming(sql=f"{OUTER} WHERE :window(o.c) OR :window(u.c)")
    world.run(form)
    source.execute("UPDATE u SET email = 'new', c = now() WHERE id = 3")
    assert world.run(form) == Counts(updated=30, skipped=2)
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
    reader = Counted(world)
    world.run(form, run="again", reader=reader)
    assert reader.rows == 300 - 2 - 2 * 40 + 1, "three chunks were kept, the first of the rows without a cursor"
    assert rows(warehouse) == sent(source)


@pytest.mark.scenario("S05")
@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_a_cursor_is_left_out_even_where_another_place_lets_it_pass(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    both = f"{OUTER} WHERE :window(o.c) OR :window(u.c)"
    world = shop.streaming(sql=both, on_cursor_null="exclude")
    assert world.run(form) == Counts(inserted=298)
    source.execute("UPDATE u SET email = 'new', c = now()")
    assert world.run(form) == Counts(updated=298)
    included = world.streaming(on_cursor_null="include", sync_key="included")
    assert included.run(form) == Counts(inserted=2, skipped=298)
    assert rows(warehouse) == sent(source)


@pytest.mark.parametrize("form", FORMS)
def test_each_branch_of_a_union_has_its_own_place(
    form: Form, shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    union = """
        SELECT 'o' AS kind, id, c FROM o WHERE :window(o.c)
        UNION ALL
        SELECT 'u', id, c FROM u WHERE :window(u.c)
    """
    world = shop.streaming(sql=union, primary_key=("kind", "id"))
    assert world.run(form) == Counts(inserted=310)
    source.execute("UPDATE u SET c = now() WHERE id = 3; UPDATE o SET c = now() WHERE id IN (4, 5)")
    assert world.run(form) == Counts(updated=3, skipped=2)


TEXTS = {
    "a comment in a comment": "/* /* */ WHERE :window(o.c) */",
    "a comment line": "-- it's :window(o.c)\nWHERE :window(o.c)",
    "a comment line in the place": "WHERE :window(o.c -- the cursor\n)",
    "a text": "WHERE ':window(o.c)' <> 'it''s' AND :window(o.c)",
    "a text with a backslash": r"WHERE '\' <> ':window(o.c)' AND :window(o.c)",
    "a text with escapes": r"WHERE E'\\' <> E'\' :window(o.c)' AND :window(o.c)",
    "a dollar quote": "WHERE $a$ $$ :window(o.c) $a$ <> '' AND :window(o.c)",
    "an operator": "WHERE o.id # 1 > 0 AND :window(o.c)",
    "a closing semicolon behind an operator": "WHERE :window(o.c) AND o.id > 1 # 1;",
}


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_place_is_found_among_texts_and_comments(text: str, shop: World) -> None:
    day = WindowRules(range_start="2024-01-02 00:00+00", range_end="2024-01-03 00:00+00")
    assert shop.but(rules=day).streaming(sql=f"{OUTER}\n{text}").run() == Counts(inserted=24)


TOTALS = """
    SELECT u AS id, count(*) AS orders, max(c) AS c
    FROM o
    WHERE u IN (SELECT u FROM o WHERE {})
    GROUP BY u
"""


def test_what_a_place_chooses_can_be_read_whole(
    shop: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """An aggregate over the window's rows would lack the others: the window chooses the groups."""
    world = shop.streaming(sql=TOTALS.format(":window(c)"))
    assert world.run() == Counts(inserted=10)
    source.execute("INSERT INTO o VALUES (301, 3, now())")
    assert world.run() == Counts(updated=1)
    assert scalar(warehouse, "SELECT orders FROM t WHERE id = 3") == 31


def test_reconcile_reads_all_rows_of_it(shop: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    shop.run()
    source.execute("DELETE FROM o WHERE id IN (7, 8)")
    keys = KeyStream(sync_key="t", sql=f"{INNER};", primary_key=("id",))
    assert shop.reconcile(ReconcileRules(), keys=keys).settled.deleted == 2
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


FENCED = {
    "a window function": "SELECT *, row_number() OVER (ORDER BY id) AS place FROM o WHERE {}",
    "distinct on": "SELECT DISTINCT ON (u) * FROM o WHERE {} ORDER BY u, c DESC",
    "a limit": "SELECT * FROM o WHERE {} ORDER BY c LIMIT 1000000",
    "an aggregate": TOTALS,
}


@pytest.mark.parametrize("query", FENCED.values(), ids=FENCED)
def test_an_index_serves_where_a_condition_around_the_query_reaches_none(
    query: str, shop: World, source: psycopg.Connection
) -> None:
    source.execute("""
        INSERT INTO o SELECT i, i, timestamptz '2024-03-01 00:00+00' + i * interval '1 second'
        FROM generate_series(1000, 30000) AS i
    """)
    source.execute("CREATE INDEX ON o (u); ANALYZE o")
    plans = [plan(shop.streaming(sql=query.format(place))) for place in ("TRUE", ":window(c)")]
    assert ["Index Cond: (c >= " in each for each in plans] == [False, True]


@pytest.mark.scenario("S21")
def test_an_index_serves_the_maximum_of_a_placed_integer_cursor(world: World, source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE o (c bigserial PRIMARY KEY, v text)")
    source.execute("INSERT INTO o (v) SELECT 'v' FROM generate_series(1, 20000); ANALYZE o")
    query = "SELECT *, row_number() OVER (ORDER BY v) AS place FROM o WHERE :window(c)"
    world = world.streaming(table=None, sql=query, primary_key=("c",))
    maximum = sql.window.read_maximum(world.stream, "integer", "bigint", CursorValue("integer", "19990"))
    assert scalar(source, maximum.as_string(None)) == "20000"
    explained = source.execute(f"EXPLAIN {maximum.as_string(None)}").fetchall()
    assert "Index Cond: (c >= " in str(explained)


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


@pytest.mark.parametrize("form", FORMS)
def test_a_place_on_another_number_than_the_cursor_is_refused(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE o (c bigint PRIMARY KEY, other bigint)")
    source.execute("INSERT INTO o SELECT i, 1000 + i FROM generate_series(1, 50) AS i")
    world = world.streaming(table=None, sql="SELECT * FROM o WHERE :window(other)", primary_key=("c",))
    world.run(form)
    stored = watermark(warehouse)
    source.execute("INSERT INTO o VALUES (51, 1051)")
    with pytest.raises(ConfigurationError, match="'c' lies below the window: place it on what the query gives as 'c'"):
        world.run(form)
    assert watermark(warehouse) == stored


UNFIT = {
    "local time for time": ("o.c::timestamp AS c", "o.c"),
    "time for local time": ("o.c", "o.c::timestamp"),
    "date": ("o.c::date AS c", "o.c"),
    "two values": ("o.c", "o.c, u.c"),
    "text for number": ("o.id AS c", "u.email"),
}


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(("cursor", "placed"), UNFIT.values(), ids=UNFIT)
def test_a_place_on_another_type_than_the_cursors_is_refused_by_the_first_run(
    cursor: str, placed: str, shop: World
) -> None:
    """A local time compared with one of UTC would leave out the hours between them."""
    query = f"SELECT o.id, {cursor} FROM o JOIN u ON u.id = o.u WHERE :window({placed})"
    with pytest.raises(ConfigurationError, match="stands on no value of the type of its cursor 'c'"):
        shop.streaming(sql=query).run()


def test_a_place_on_a_domain_over_the_cursors_type_is_fit(shop: World, source: psycopg.Connection) -> None:
    source.execute("CREATE DOMAIN moment AS timestamptz; ALTER TABLE o ALTER c TYPE moment")
    shop.run()
    assert shop.run() == Counts(skipped=2)


def test_a_misspelt_place_is_found_by_the_first_run(shop: World) -> None:
    with pytest.raises(SchemaError, match=r"column o\.changed does not exist"):
        shop.streaming(sql=f"{OUTER} WHERE :window(o.changed)").run()
