"""S25: a destination table that has a life of its own."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL

from airflow_etl_sync.core.model import Counts, LoadRules, Stream, TableName
from airflow_etl_sync.errors import DataError, EtlSyncError, SchemaError
from tests.carrying import FORMS, Carrier, Form

pytestmark = pytest.mark.scenario("S25")

ITEMS = TableName("items", "public")
STREAM = Stream(sync_key="items", cursor_field="at", table=ITEMS)


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    return Carrier(source_db, warehouse_db, tmp_path, chunk_rows=3)


@pytest.fixture(autouse=True)
def items(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT now())")
    source.execute("INSERT INTO items SELECT n, 'new ' || n FROM generate_series(1, 7) AS n")


def create(warehouse: psycopg.Connection, ddl: str, *more: str) -> None:
    warehouse.execute(SQL("CREATE TABLE items ({})").format(SQL(ddl)))
    for statement in more:
        warehouse.execute(SQL(statement))


def touch(source: psycopg.Connection, *ids: int) -> None:
    source.execute("UPDATE items SET name = 'changed ' || id, at = now() WHERE id = ANY(%s)", (list(ids),))


def arrived(warehouse: psycopg.Connection) -> list[tuple[object, ...]]:
    return warehouse.execute("SELECT id, name FROM items ORDER BY id").fetchall()


def sent(source: psycopg.Connection) -> list[tuple[object, ...]]:
    return source.execute("SELECT id, name FROM items ORDER BY id").fetchall()


@pytest.mark.parametrize("form", FORMS)
def test_extra_columns_keep_their_values_and_defaults_fill_new_rows(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form
) -> None:
    create(warehouse, "note text DEFAULT 'none', id integer PRIMARY KEY, at timestamptz, name text")
    warehouse.execute("INSERT INTO items (id, note) VALUES (1, 'mine')")
    assert carrier.carry(form, STREAM, ITEMS) == Counts(inserted=6, updated=1)
    notes = warehouse.execute("SELECT id, note FROM items ORDER BY id").fetchall()
    assert notes == [(1, "mine"), *((n, "none") for n in range(2, 8))]
    assert arrived(warehouse) == sent(source)


@pytest.mark.parametrize("form", FORMS)
def test_generated_columns_are_computed_even_where_the_stream_has_them(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form
) -> None:
    source.execute("ALTER TABLE items ADD COLUMN loud text GENERATED ALWAYS AS (upper(name)) STORED")
    create(
        warehouse,
        "id integer PRIMARY KEY, name text, at timestamptz, loud text GENERATED ALWAYS AS (upper(name)) STORED",
    )
    assert carrier.carry(form, STREAM, ITEMS) == Counts(inserted=7)
    touch(source, 2)
    assert carrier.carry(form, STREAM, ITEMS).updated == 1
    assert warehouse.execute("SELECT id, loud FROM items ORDER BY id").fetchall() == (
        source.execute("SELECT id, loud FROM items ORDER BY id").fetchall()
    )


@pytest.mark.parametrize("kind", ["ALWAYS", "BY DEFAULT"])
@pytest.mark.parametrize("form", FORMS)
def test_identity_takes_the_values_of_the_source(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form, kind: str
) -> None:
    create(
        warehouse,
        f"id integer GENERATED {kind} AS IDENTITY PRIMARY KEY, name text, at timestamptz",
        "INSERT INTO items (name) VALUES ('old')",
    )
    assert carrier.carry(form, STREAM, ITEMS) == Counts(inserted=6, updated=1)
    touch(source, 5)
    assert carrier.carry(form, STREAM, ITEMS).updated == 1
    assert arrived(warehouse) == sent(source)


def test_identity_always_that_is_no_key(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE items ADD COLUMN line integer")
    source.execute("UPDATE items SET line = id * 10")
    create(
        warehouse,
        "id integer PRIMARY KEY, name text, at timestamptz, line integer GENERATED ALWAYS AS IDENTITY",
        "INSERT INTO items (id) VALUES (1)",
    )
    assert carrier.chain(STREAM, ITEMS) == Counts(inserted=6, updated=1)
    assert warehouse.execute("SELECT line FROM items ORDER BY id").fetchall() == [(n * 10,) for n in range(1, 8)]


def test_triggers_fire_once_a_change_and_may_change_the_row(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    create(warehouse, "id integer PRIMARY KEY, name text, at timestamptz", "CREATE TABLE log (op text, id integer)")
    warehouse.execute("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES (TG_OP, NEW.id); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note()
    """)
    carrier.chain(STREAM, ITEMS)
    carrier.one_task(STREAM, ITEMS)
    touch(source, 3)
    carrier.chain(STREAM, ITEMS)
    log = warehouse.execute("SELECT op, id FROM log ORDER BY op, id").fetchall()
    assert log == [*(("INSERT", n) for n in range(1, 8)), ("UPDATE", 3)]


def test_a_trigger_that_drops_rows_is_not_hidden_by_the_counts(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    create(warehouse, "id integer PRIMARY KEY, name text, at timestamptz")
    warehouse.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    assert carrier.chain(STREAM, ITEMS) == Counts(inserted=6, skipped=1)


@pytest.mark.parametrize("form", FORMS)
def test_partitions_with_exact_counts(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form
) -> None:
    warehouse.execute("CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz) PARTITION BY RANGE (id)")
    warehouse.execute("CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (4)")
    warehouse.execute("CREATE TABLE high PARTITION OF items FOR VALUES FROM (4) TO (100)")
    warehouse.execute("INSERT INTO items VALUES (1, 'old'), (7, 'old')")
    assert carrier.carry(form, STREAM, ITEMS) == Counts(inserted=5, updated=2)
    touch(source, 1, 4)
    source.execute("INSERT INTO items VALUES (8, 'late'), (0, 'late')")
    counts = carrier.carry(form, STREAM, ITEMS)
    assert (counts.inserted, counts.updated) == (2, 2)
    assert arrived(warehouse) == sent(source)


def test_a_row_without_a_partition_fails_the_load(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz) PARTITION BY RANGE (id)")
    warehouse.execute("CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (5)")
    with pytest.raises(DataError):
        carrier.chain(STREAM, ITEMS)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


def test_a_unique_index_serves_as_well_as_a_key(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    create(
        warehouse,
        "id integer, name text, at timestamptz",
        "CREATE UNIQUE INDEX ON items (id) INCLUDE (name)",
    )
    assert carrier.chain(STREAM, ITEMS) == Counts(inserted=7)
    touch(source, 2)
    assert carrier.chain(STREAM, ITEMS).updated == 1
    assert arrived(warehouse) == sent(source)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE items (id integer, name text, at timestamptz)"],
        ["CREATE TABLE items (id integer, name text, at timestamptz, PRIMARY KEY (id, at))"],
        ["CREATE TABLE items (id integer PRIMARY KEY DEFERRABLE, name text, at timestamptz)"],
        [
            "CREATE TABLE items (id integer, name text, at timestamptz)",
            "CREATE UNIQUE INDEX ON items (id) WHERE id > 0",
        ],
        ["CREATE TABLE items (id integer, name text, at timestamptz)", "CREATE UNIQUE INDEX ON items (abs(id))"],
        ["CREATE TABLE items (id integer, name text, at timestamptz)", "CREATE INDEX ON items (id)"],
    ],
    ids=["no key", "wider key", "deferrable", "partial", "expression", "not unique"],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_table_without_a_fitting_key_is_refused(
    carrier: Carrier, warehouse: psycopg.Connection, form: Form, statements: list[str]
) -> None:
    for statement in statements:
        warehouse.execute(SQL(statement))
    with pytest.raises(SchemaError, match=r"no primary key or unique index on exactly \(id\)"):
        carrier.carry(form, STREAM, ITEMS)
    assert arrived(warehouse) == []


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE VIEW items AS SELECT * FROM base",
        "CREATE MATERIALIZED VIEW items AS SELECT * FROM base",
        "CREATE SEQUENCE items",
    ],
)
def test_what_is_no_table_is_refused(carrier: Carrier, warehouse: psycopg.Connection, ddl: str) -> None:
    warehouse.execute("CREATE TABLE base (id integer PRIMARY KEY, name text, at timestamptz)")
    warehouse.execute(SQL(ddl))
    with pytest.raises(SchemaError, match="is no table"):
        carrier.chain(STREAM, ITEMS)


@pytest.mark.parametrize(
    ("ddl", "error"),
    [
        ("id integer PRIMARY KEY, name text", SchemaError),
        ("id integer PRIMARY KEY, name text, at timestamptz, must text NOT NULL", DataError),
        ("id integer PRIMARY KEY, name text CHECK (name <> 'new 5'), at timestamptz", DataError),
        ("id integer PRIMARY KEY, name uuid, at timestamptz", DataError),
    ],
    ids=["column missing", "required column", "check", "wrong type"],
)
def test_a_table_that_does_not_take_the_rows_fails_by_name(
    carrier: Carrier, warehouse: psycopg.Connection, ddl: str, error: type[EtlSyncError]
) -> None:
    create(warehouse, ddl)
    with pytest.raises(error) as caught:
        carrier.chain(STREAM, ITEMS)
    assert "new 5" not in str(caught.value)
    assert not caught.value.is_retryable
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


def test_create_table_off(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    with pytest.raises(SchemaError, match="create_table is off"):
        carrier.chain(STREAM, ITEMS, LoadRules(create_table=False))
    assert warehouse.execute("SELECT to_regclass('public.items')").fetchone() == (None,)
