"""S23: names of any kind are synced like any other."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Composable, Identifier

from airflow_etl_sync.core.model import ConflictStrategy, Counts, LoadRules, Stream, TableName
from tests.carrying import FORMS, Carrier, Form

pytestmark = pytest.mark.scenario("S23")

NAMES = [
    "t; drop table x",
    'a"b',
    "a.b",
    "a%sb%(c)s",
    "{} {0} {a}",
    "select",
    "MixedCase",
    " leading and trailing ",
    "ä" * 31 + "x",
    "表",
    "x" * 63,
    "$1 :a \\ '",
    "line\nbreak",
    "source",
    "target",
    "staged",
    "excluded",
    "merged",
    "before",
    "is_new",
    "etl_sync.place",
    "etl_sync",
    "one",
]
# what the engine's own statements call things, which must not be mistaken for columns
OUR_OWN = [
    "source",
    "target",
    "staged",
    "excluded",
    "merged",
    "before",
    "is_new",
    "etl_sync.place",
    "place",
    "one",
    "value",
]


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    return Carrier(source_db, warehouse_db, tmp_path, chunk_rows=2)


def create(connection: psycopg.Connection, table: TableName, columns: list[str], key: list[str]) -> None:
    assert table.schema
    connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(table.schema)))
    lines: list[Composable] = [SQL("{} integer").format(Identifier(name)) for name in columns]
    lines.append(SQL('"changed %" timestamptz DEFAULT now()'))
    lines.append(SQL("PRIMARY KEY ({})").format(SQL(", ").join(map(Identifier, key))))
    connection.execute(SQL("CREATE TABLE {} ({})").format(Identifier(table.schema, table.name), SQL(", ").join(lines)))


def fill(connection: psycopg.Connection, table: TableName, columns: list[str], rows: range) -> None:
    assert table.schema
    for row in rows:
        connection.execute(
            SQL("INSERT INTO {} ({}) VALUES ({})").format(
                Identifier(table.schema, table.name),
                SQL(", ").join(map(Identifier, columns)),
                SQL(", ").join(SQL(str(row * 100 + place)) for place in range(len(columns))),
            )
        )


def rows_of(connection: psycopg.Connection, table: TableName, columns: list[str]) -> list[tuple[object, ...]]:
    assert table.schema
    names = SQL(", ").join(map(Identifier, columns))
    query = SQL("SELECT {} FROM {} ORDER BY 1").format(names, Identifier(table.schema, table.name))
    return connection.execute(query).fetchall()


def shift(connection: psycopg.Connection, table: TableName, column: str, condition: int) -> None:
    assert table.schema
    connection.execute(
        SQL('UPDATE {} SET {} = -1, "changed %" = now() WHERE {} <> {}').format(
            Identifier(table.schema, table.name), Identifier(column), Identifier(column), SQL(str(condition))
        )
    )


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_every_name(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form
) -> None:
    table = TableName("names", "public")
    columns = list(dict.fromkeys([*NAMES, *OUR_OWN]))
    create(source, table, columns, columns[:2])
    fill(source, table, columns, range(5))
    stream = Stream(sync_key="names", cursor_field="changed %", table=table)
    assert carrier.carry(form, stream, table) == Counts(inserted=5)
    shift(source, table, columns[-1], 100 + len(columns) - 1)
    assert carrier.carry(form, stream, table).updated == 4
    assert rows_of(warehouse, table, columns) == rows_of(source, table, columns)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_for_everything(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, name: str
) -> None:
    """Schema, table, key, cursor, sync key and the extra column bear the name."""
    table = TableName(name, name)
    for connection in (source, warehouse):
        connection.execute("CREATE TABLE x (a integer)")
    warehouse.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(name)))
    create(source, table, [name, "other"], [name])
    fill(source, table, [name, "other"], range(3))
    stream = Stream(sync_key=name, cursor_field=name, table=table, columns=(name, "other"), primary_key=(name,))
    rules = LoadRules(synced_at_column=f"{name[:20]} at")
    assert carrier.chain(stream, table, rules) == Counts(inserted=3)
    shift(source, table, "other", 101)
    again = Stream(sync_key=f"{name} again", cursor_field=name, table=table)
    assert carrier.one_task(again, TableName("new", name)) == Counts(inserted=3)
    assert carrier.chain(stream, table, rules).errors == 0
    assert rows_of(warehouse, TableName("new", name), [name, "other"]) == rows_of(source, table, [name, "other"])
    assert warehouse.execute("SELECT to_regclass('public.x')").fetchone() == ("x",)
    assert source.execute("SELECT to_regclass('public.x')").fetchone() == ("x",)


STRATEGIES: tuple[ConflictStrategy, ...] = ("source_wins", "dest_wins", "latest_wins", "merge_non_null")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("is_partitioned", [False, True])
def test_composite_key_in_another_order_than_the_columns(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    strategy: ConflictStrategy,
    is_partitioned: bool,
) -> None:
    table = TableName("Order Lines", "public")
    create(source, table, ["c", "B b", "a"], ["a", "B b"])
    fill(source, table, ["c", "B b", "a"], range(7))
    if is_partitioned:
        warehouse.execute(
            'CREATE TABLE "Order Lines" (a integer, "B b" integer, c integer, "changed %" timestamptz,'
            ' PRIMARY KEY ("B b", a)) PARTITION BY HASH (a)'
        )
        warehouse.execute('CREATE TABLE "only" PARTITION OF "Order Lines" FOR VALUES WITH (MODULUS 1, REMAINDER 0)')
    stream = Stream(sync_key="lines", cursor_field="changed %", table=table)
    assert carrier.chain(stream, table, LoadRules(conflict=strategy)) == Counts(inserted=7)
    assert rows_of(warehouse, table, ["a", "B b", "c"]) == rows_of(source, table, ["a", "B b", "c"])
