"""S20: a key is found again, whatever its type and its name."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules, Settled
from airflow_etl_sync.core.model import Counts
from tests.scenarios.reconciling import EVERYTHING, HARD, SOFT, Asked, flagged
from tests.scenarios.world import World, rows, scalar

pytestmark = pytest.mark.scenario("S20")


AWKWARD: dict[str, tuple[str, str, list[str]]] = {
    "case and accents": ("text", "text", ["a", "A", "B", "ä", "Ä", "z", "ss", "ß", "", " ", "a "]),
    "another collation here": ('text COLLATE "C"', "text", ["a", "A", "B", "ä", "Z", "z"]),
    "another collation there": ("text", 'text COLLATE "C"', ["a", "A", "B", "ä", "Z", "z"]),
    "varchar to text": ("varchar(3)", "text", ["a", "abc", "äöü"]),
    "integer to text": ("integer", "text", ["1", "-2", "30"]),
    "integer to numeric with a scale": ("integer", "numeric(10,2)", ["1", "-2", "30"]),
    "text to bigint": ("text", "bigint", ["1", "-2", "30"]),
    "uuid to text": ("uuid", "text", ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    "domain to text": ("code", "text", ["ab", "cd"]),
    "array": ("integer[]", "integer[]", ["{1,2}", "{}", "{{1,2},{3,4}}"]),
}
OF_ONE_TYPE = {
    "char(3)": ["a", "ab", "abc"],
    "numeric": ["1.0", "0.1", "1e30"],
    "double precision": ["0.1", "NaN", "-Infinity"],
    "timestamptz(3)": ["infinity", "2024-01-01 00:00:00.001+02", "4713-01-01 BC"],
    "timestamp": ["2024-01-01 00:00:00.000001", "-infinity", "0001-01-01"],
    "date": ["-infinity", "2024-01-01", "5874897-12-31"],
    "uuid": ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "bytea": ["\\x00", "\\x0001", "\\x"],
    "interval": ["1 day", "1 mon", "-3:00:00.5"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "::1"],
    "mood": ["sad", "so-so", "O'K"],
    "timetz": ["10:00+02", "23:59:59.5-11"],
    '"char"': ["a", "B"],
    "boolean": ["true", "false"],
    "money": ["1.50", "-2"],
}


def test_keys_of_every_kind_are_found_again(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    columns = [f"k{place} {type_}" for place, type_ in enumerate(OF_ONE_TYPE)]
    names = ", ".join(column.partition(" ")[0] for column in columns)
    for connection in (source, warehouse):
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'so-so', 'O''K')")
        connection.execute(f"CREATE TABLE t ({', '.join(columns)}, c bigint, PRIMARY KEY ({names}))")
    values = ", ".join(f"CAST(%s::text AS {type_})" for type_ in OF_ONE_TYPE)
    for place in range(6):
        row = [values[place % len(values)] for values in OF_ONE_TYPE.values()]
        source.execute(f"INSERT INTO t VALUES ({values}, {place})", row)
    assert_keys_are_found_again("every", world, source, warehouse)


def test_keys_are_equal_as_the_destination_sees_it(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE DOMAIN code AS varchar(2) CHECK (VALUE <> '')")
    for kind, (source_type, target_type, values) in AWKWARD.items():
        source.execute(f"CREATE TABLE t (id {source_type} PRIMARY KEY, c bigint)")
        warehouse.execute(f"CREATE TABLE t (id {target_type} PRIMARY KEY, c bigint)")
        for place, value in enumerate(values):
            plain = source_type.partition(" COLLATE")[0]
            source.execute(f"INSERT INTO t VALUES (CAST(%s::text AS {plain}), {place})", [value])
        assert_keys_are_found_again(kind, world.streaming(sync_key=kind), source, warehouse)
        for connection in (source, warehouse):
            connection.execute("DROP TABLE t")


def assert_keys_are_found_again(
    kind: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    every = scalar(source, "SELECT count(*) FROM t")
    missing = every // 2
    assert world.run() == Counts(inserted=every), kind
    assert world.reconcile(ReconcileRules(max_delete_percent=0)).numbers.absent == 0, kind

    source.execute("CREATE TEMP TABLE kept AS SELECT * FROM t WHERE c % 2 = 1")
    source.execute("DELETE FROM t WHERE c % 2 = 1")
    back = Asked(world, lambda: source.execute("INSERT INTO t SELECT * FROM kept"))
    report = world.reconcile(EVERYTHING, source=back)
    assert (report.numbers.absent, report.settled) == (missing, Settled()), f"{kind}: asked again, all are there"

    source.execute("DELETE FROM t WHERE c % 2 = 1")
    assert world.reconcile(EVERYTHING).settled == Settled(missing, 0), kind
    assert rows(warehouse, "c") == rows(source, "c"), kind
    source.execute("DROP TABLE kept")


def test_quoted_and_composite_keys(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    names = ('"Id ""%s"" $1"', '"place"', '"key_0"', '"é"')
    columns = ", ".join(f"{name} integer NOT NULL" for name in names)
    source.execute(f"CREATE TABLE t ({columns}, c bigint, is_present text, PRIMARY KEY ({', '.join(reversed(names))}))")
    source.execute("INSERT INTO t SELECT i, i % 3, i % 5, 0, i FROM generate_series(1, 60) AS i")
    world.run()
    source.execute("DELETE FROM t WHERE place = 1 AND key_0 = 1")
    rules = ReconcileRules(where="place + key_0 >= 0 AND is_present IS NULL")
    assert world.reconcile(rules).settled == Settled(4, 0)
    assert rows(warehouse) == rows(source)


def test_a_query_is_asked_for_its_own_keys(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE item (parent bigint, kind text, c timestamptz DEFAULT now(), place text)")
    source.execute("INSERT INTO item SELECT i, kind FROM generate_series(1, 50) AS i, unnest('{a,b}'::text[]) AS kind")
    query = "SELECT parent, kind AS \"Kind %\", max(c) AS c, '5%' AS pct FROM item GROUP BY parent, kind;"
    stream = {"table": None, "sql": query, "primary_key": ("parent", "Kind %")}
    world = world.streaming(**stream)
    world.run()
    source.execute("DELETE FROM item WHERE parent = 4 AND kind = 'b'")
    keys = KeyStream(sync_key="t", sql=query, primary_key=("Kind %", "parent"))
    kept = Asked(world, lambda: source.execute("INSERT INTO item VALUES (4, 'b')"), keys)
    assert world.reconcile(HARD, source=kept).settled == Settled()
    source.execute("DELETE FROM item WHERE parent = 4 AND kind = 'b'")
    assert world.reconcile(HARD, keys=keys).settled == Settled(1, 0)
    assert scalar(warehouse, "SELECT count(*) FROM t") == 99


def test_a_partitioned_target(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE t (id bigint, c date, v text, PRIMARY KEY (id, c)) PARTITION BY RANGE (c)")
    for year in (2023, 2024):
        warehouse.execute(
            f"CREATE TABLE t{year} PARTITION OF t FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')"
        )
    source.execute("CREATE TABLE t (id bigint, c date, v text, PRIMARY KEY (id, c))")
    source.execute("INSERT INTO t SELECT i, date '2023-12-01' + i, 'x' FROM generate_series(1, 60) AS i")
    world.run()
    source.execute("DELETE FROM t WHERE id IN (1, 60)")
    assert world.reconcile(SOFT).settled == Settled(2, 0)
    assert flagged(warehouse) == [1, 60]
    source.execute("INSERT INTO t VALUES (1, '2023-12-02', 'back')")
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = '2000-01-01'")
    assert world.run() == Counts(updated=1, skipped=58)
    assert world.reconcile(HARD).settled == Settled(1, 0)
    assert rows(warehouse, "id, c, v") == rows(source)
