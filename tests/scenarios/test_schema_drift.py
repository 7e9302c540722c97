"""S19: columns that are added, renamed, dropped, widened and retyped, under each schema contract."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, SchemaContract
from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError, SchemaError
from tests.scenarios.world import FORMS, Form, World, rows, scalar, watermark

pytestmark = pytest.mark.scenario("S19")


@pytest.fixture
def synced(world: World, source: psycopg.Connection) -> World:
    """Three rows that are in step."""
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), n integer, v text)")
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', i, 'v' || i FROM generate_series(1, 3) AS i")
    assert world.run() == Counts(inserted=3)
    return world


def under(world: World, contract: SchemaContract) -> World:
    limit = 5 if contract == "discard_row" else None
    return world.but(load_rules=LoadRules(schema_contract=contract, max_errors=limit))


def changes(warehouse: psycopg.Connection) -> set[tuple[Any, ...]]:
    query = 'SELECT place, "column", change, old_type, new_type FROM etl_sync.schema_change'
    return set(warehouse.execute(query).fetchall())


def add_column(source: psycopg.Connection) -> None:
    source.execute("ALTER TABLE t ADD COLUMN w varchar(20)")
    source.execute("UPDATE t SET w = 'new', c = now() WHERE id = 1")
    source.execute("UPDATE t SET n = 20, c = now() WHERE id = 2")


APPEARED = ("source", "w", "appeared", None, "character varying(20)")


@pytest.mark.parametrize("form", FORMS)
def test_evolve_adds_a_column(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    add_column(source)
    assert under(synced, "evolve").run(form) == Counts(updated=2)
    assert rows(warehouse) == rows(source)
    added = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'w'"
    assert scalar(warehouse, added) == "character varying(20)"
    assert changes(warehouse) == {APPEARED, ("t", "w", "added", None, "character varying(20)")}
    assert under(synced, "evolve").run(form).processed <= 2
    assert len(changes(warehouse)) == 2, "what has been told is not told again"


@pytest.mark.parametrize("form", FORMS)
def test_freeze_refuses_a_column_and_changes_nothing(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    before, stored = rows(warehouse), watermark(warehouse)
    add_column(source)
    with pytest.raises(SchemaError, match=r"no column w, and schema_contract is 'freeze'"):
        under(synced, "freeze").run(form)
    assert (rows(warehouse), watermark(warehouse)) == (before, stored)
    assert under(synced.streaming(columns=("id", "c", "n", "v")), "freeze").run(form) == Counts(updated=2)


@pytest.mark.parametrize("form", FORMS)
def test_discard_column_leaves_it_out(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    add_column(source)
    assert under(synced, "discard_column").run(form) == Counts(updated=2)
    assert rows(warehouse) == rows(source, "id, c, n, v")
    assert changes(warehouse) == {APPEARED, ("t", "w", "left_out", None, "character varying(20)")}


@pytest.mark.parametrize("form", FORMS)
def test_discard_row_sets_aside_what_has_a_value_in_it(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    add_column(source)
    assert under(synced, "discard_row").run(form) == Counts(updated=1, errors=1)
    assert warehouse.execute("SELECT id, n FROM t ORDER BY id").fetchall() == [(1, 1), (2, 20), (3, 3)]
    stored = warehouse.execute("SELECT key ->> 0, payload ->> 'w', error FROM etl_sync.failed_record").fetchall()
    assert stored == [("1", "new", "column w is not in the table, and schema_contract is 'discard_row'")]


def test_discard_row_asks_for_a_limit() -> None:
    with pytest.raises(ConfigurationError, match="say with max_errors or max_error_percent"):
        LoadRules(schema_contract="discard_row")


@pytest.mark.parametrize("form", FORMS)
def test_a_renamed_column_is_a_new_one_and_the_old_one_keeps_its_values(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t RENAME COLUMN v TO text")
    source.execute("UPDATE t SET text = 'changed', c = now() WHERE id = 1")
    assert under(synced, "evolve").run(form) == Counts(updated=1)
    assert warehouse.execute("SELECT id, v, text FROM t ORDER BY id").fetchall() == [
        (1, "v1", "changed"),
        (2, "v2", None),
        (3, "v3", None),
    ]
    assert {change[1:3] for change in changes(warehouse)} == {
        ("text", "appeared"),
        ("v", "vanished"),
        ("text", "added"),
    }


@pytest.mark.parametrize("contract", ["evolve", "freeze", "discard_column", "discard_row"])
@pytest.mark.parametrize("form", FORMS)
def test_a_dropped_column_keeps_its_values_under_every_contract(
    form: Form, contract: SchemaContract, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t DROP COLUMN v")
    source.execute("UPDATE t SET n = 10, c = now() WHERE id = 1")
    source.execute("INSERT INTO t VALUES (4, now(), 4)")
    assert under(synced, contract).run(form) == Counts(inserted=1, updated=1)
    kept = warehouse.execute("SELECT id, n, v FROM t ORDER BY id").fetchall()
    assert kept == [(1, 10, "v1"), (2, 2, "v2"), (3, 3, "v3"), (4, 4, None)]
    assert changes(warehouse) == {("source", "v", "vanished", "text", None)}


def test_a_dropped_column_that_the_table_requires_is_named(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("ALTER TABLE t ALTER COLUMN v SET NOT NULL")
    source.execute("ALTER TABLE t DROP COLUMN v")
    source.execute("UPDATE t SET n = 10, c = now() WHERE id = 1")
    with pytest.raises(SchemaError, match=r"Column v of 't' is NOT NULL without a default"):
        synced.run()


def widen(source: psycopg.Connection) -> None:
    source.execute("ALTER TABLE t ALTER COLUMN n TYPE bigint")
    source.execute("UPDATE t SET n = 5000000000, c = now() WHERE id = 1")
    source.execute("UPDATE t SET n = 20, c = now() WHERE id = 2")


RETYPED = ("source", "n", "retyped", "integer", "bigint")


@pytest.mark.parametrize("form", FORMS)
def test_evolve_widens_a_column_when_a_value_needs_it(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t ALTER COLUMN n TYPE bigint")
    source.execute("UPDATE t SET c = now() WHERE id = 3")
    under(synced, "evolve").run(form)
    assert scalar(warehouse, "SELECT pg_typeof(n)::text FROM t LIMIT 1") == "integer", "no value needs more"
    widen(source)
    assert under(synced, "evolve").run(form).updated == 2
    assert rows(warehouse) == rows(source)
    assert scalar(warehouse, "SELECT pg_typeof(n)::text FROM t LIMIT 1") == "bigint"
    assert changes(warehouse) == {RETYPED, ("t", "n", "widened", "integer", "bigint")}


@pytest.mark.parametrize("form", FORMS)
def test_freeze_refuses_a_type_that_the_table_s_does_not_hold(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    before = rows(warehouse)
    widen(source)
    with pytest.raises(SchemaError, match=r"schema_contract is 'freeze': n \(bigint into integer\)"):
        under(synced, "freeze").run(form)
    assert rows(warehouse) == before
    warehouse.execute("ALTER TABLE t ALTER COLUMN n TYPE numeric")
    assert under(synced, "freeze").run(form) == Counts(updated=2)


@pytest.mark.parametrize("form", FORMS)
def test_discard_column_leaves_a_retyped_one_as_it_is(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    widen(source)
    source.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    assert under(synced, "discard_column").run(form).updated == 2
    assert warehouse.execute("SELECT id, n, v FROM t ORDER BY id").fetchall() == [
        (1, 1, "changed"),
        (2, 2, "v2"),
        (3, 3, "v3"),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_discard_row_sets_aside_what_does_not_fit(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    widen(source)
    assert under(synced, "discard_row").run(form) == Counts(updated=1, errors=1)
    assert warehouse.execute("SELECT id, n FROM t ORDER BY id").fetchall() == [(1, 1), (2, 20), (3, 3)]
    assert scalar(warehouse, "SELECT payload ->> 'n' FROM etl_sync.failed_record") == "5000000000"


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_would_be_rounded_are_set_aside_and_not_rounded(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c timestamptz, n double precision)")
    warehouse.execute("CREATE TABLE t (id integer PRIMARY KEY, c timestamptz, n bigint)")
    source.execute("INSERT INTO t VALUES (1, now(), 7), (2, now(), 7.5), (3, now(), 8), (4, now(), 'NaN')")
    with pytest.raises(DataError, match="Values of column n do not fit"):
        world.run(form)
    assert world.but(load_rules=LoadRules(max_errors=2)).run(form) == Counts(inserted=2, errors=2)
    assert warehouse.execute("SELECT id, n FROM t ORDER BY id").fetchall() == [(1, 7), (3, 8)]
    stored = warehouse.execute("SELECT payload ->> 'n' FROM etl_sync.failed_record ORDER BY 1").fetchall()
    assert stored == [("7.5",), ("NaN",)]


@pytest.mark.parametrize("contract", ["evolve", "discard_row"])
@pytest.mark.parametrize("form", FORMS)
def test_a_column_of_another_kind_is_cast_value_by_value(
    form: Form, contract: SchemaContract, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE t ALTER COLUMN n TYPE text")
    source.execute("UPDATE t SET n = 'twenty', c = now() WHERE id = 2")
    source.execute("UPDATE t SET n = '30', c = now() WHERE id = 3")
    with pytest.raises(EtlSyncError, match=r"a row breaks a rule|say with max_errors"):
        synced.but(load_rules=LoadRules(schema_contract=contract)).run(form)
    world = synced.but(load_rules=LoadRules(schema_contract=contract, max_errors=1))
    assert world.run(form) == Counts(updated=1, errors=1)
    assert warehouse.execute("SELECT id, n FROM t ORDER BY id").fetchall() == [(1, 1), (2, 2), (3, 30)]


def test_the_key_is_never_left_out(synced: World, source: psycopg.Connection) -> None:
    source.execute("ALTER TABLE t ALTER COLUMN id TYPE bigint")
    source.execute("UPDATE t SET c = now()")
    with pytest.raises(SchemaError, match=r"Column id of 't' does not fit .* part of the key"):
        under(synced, "discard_column").run()


@pytest.mark.parametrize("form", FORMS)
def test_a_column_added_between_two_chunks_of_a_run_arrives_with_the_next_run(
    form: Form, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t SELECT i, now(), i, 'v' FROM generate_series(4, 50) AS i")
    world = synced.but(chunk_rows=10)
    step = "sync" if form == "one_task" else "extract"
    world.run_killed(step, "after state.ledger:record_extracted 2", "again")
    source.execute("ALTER TABLE t ADD COLUMN w integer NOT NULL DEFAULT 7")
    world.run(form, run="again")
    world.run(form)
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE id > 3 AND w IS DISTINCT FROM 7") == 0
    assert scalar(warehouse, "SELECT count(*) FROM t") == 50


def test_loads_at_once_add_a_column_once(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source.execute("ALTER TABLE t ADD COLUMN w integer")
    source.execute("INSERT INTO t SELECT i, now(), i, 'v', i FROM generate_series(4, 400) AS i")
    world = synced.but(chunk_rows=50)
    extraction = world.extract()
    with ThreadPoolExecutor(4) as pool:
        counts = sum(pool.map(world.load, extraction.parts(8)), Counts())
    assert counts.inserted == 397
    assert world.advance(extraction).counts == counts
    assert rows(warehouse) == rows(source)


def test_a_view_upon_the_column_keeps_it_as_it_is(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("CREATE VIEW upon AS SELECT n FROM t")
    widen(source)
    with pytest.raises(EtlSyncError, match="cannot alter type of a column used by a view") as caught:
        synced.run()
    assert not caught.value.is_retryable
