"""S20 from MariaDB and SQLite: deletes at a source that compares keys by rules of its own."""

from __future__ import annotations

import json
import sqlite3
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_etl_sync.core.keys import KeyBlock, KeyStream, ReconcileRules, Settled
from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, TableName, WindowRules
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError, SourceError
from airflow_etl_sync.journey.reconcile import ReconcileReport
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.database import keys as database_keys
from airflow_etl_sync.systems.database.access import DatabaseAccess, sqlite_access
from airflow_etl_sync.systems.database.keys import DatabaseKeySource
from airflow_etl_sync.systems.database.source import DatabaseSource
from tests.mariadb import MariaDb, new_mariadb
from tests.scenarios.reconciling import EVERYTHING, HARD, SOFT, flagged, runs, staged
from tests.scenarios.test_reconcile_memory import ROOT
from tests.scenarios.world import World, scalar, watermark

pytestmark = pytest.mark.scenario("S20")

FEW, MANY = 20_000, 200_000

_runs = count(1)


@dataclass(frozen=True)
class Shop:
    """A database of another kind, kept in step with table ``t`` of the world's warehouse."""

    system: str
    access: DatabaseAccess
    execute: Callable[..., list[tuple[Any, ...]]]
    world: World

    def sync(self, **stream: Any) -> Counts:
        world = self.world.streaming(**stream)
        report = sync(
            DatabaseSource(self.access, world.stream), world.destination, stream=world.stream,
            window_rules=WindowRules(), load_rules=LoadRules(), chunk_rows=1_000,
            identity=RunIdentity("dag", "sync", f"run {next(_runs)}"),
        )  # fmt: skip
        return report.counts

    def reconcile(
        self,
        rules: ReconcileRules,
        keys: KeyStream | None = None,
        meanwhile: Callable[[], Any] = lambda: None,
        block_rows: int = 4,
    ) -> ReconcileReport:
        source = Asked(self.access, keys or KeyStream(sync_key="t", table=TableName("t")))
        source.meanwhile = meanwhile
        return self.world.reconcile(rules, keys=keys, source=source, block_rows=block_rows)


class Asked(DatabaseKeySource):
    """A source beside which something happens between the reading of the keys and the question."""

    meanwhile: Callable[[], Any]

    def read_keys(self) -> Any:
        yield from super().read_keys()
        self.meanwhile()


@pytest.fixture
def mariadb(world: World) -> Iterator[Shop]:
    with new_mariadb() as database:
        yield Shop("mariadb", database.access, database.execute, world)


@pytest.fixture
def sqlite(world: World, tmp_path: Path) -> Shop:
    path = tmp_path / "shop.db"

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    execute("PRAGMA user_version")
    path.touch()
    return Shop("sqlite", sqlite_access(path), execute, world)


@pytest.fixture(params=["mariadb", "sqlite"])
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def synced(shop: Shop) -> Shop:
    """A table of 100 rows, in step."""
    values = ", ".join(f"({n}, {n}, 'old')" for n in range(1, 101))
    shop.execute("CREATE TABLE t (id integer NOT NULL PRIMARY KEY, c bigint, v varchar(50))")
    shop.execute(f"INSERT INTO t VALUES {values}")
    assert shop.sync() == Counts(inserted=100)
    return shop


def ids(warehouse: psycopg.Connection, column: str = "id") -> list[Any]:
    return [row[0] for row in warehouse.execute(f"SELECT {column} FROM t ORDER BY 1")]


def test_hard_deletes_what_is_gone_and_nothing_else(synced: Shop, warehouse: psycopg.Connection) -> None:
    stored = watermark(warehouse)
    synced.execute("DELETE FROM t WHERE id IN (3, 50, 100)", "UPDATE t SET v = 'new' WHERE id = 4")
    report = synced.reconcile(HARD)
    assert (report.numbers.compared, report.numbers.absent, report.settled) == (100, 3, Settled(3, 0))
    assert ids(warehouse) == [row[0] for row in synced.execute("SELECT id FROM t ORDER BY 1")]
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 4") == "old", "changed rows are the sync's business"
    assert synced.reconcile(HARD).settled == Settled()
    assert watermark(warehouse) == stored
    assert runs(warehouse) == [("done", 97, 0, 0, 0, 0, 3), ("done", 97, 0, 0, 0, 0, 0)]
    assert staged(warehouse) == 0


def test_soft_flags_what_is_gone_and_takes_the_flag_off_what_is_back(
    synced: Shop, warehouse: psycopg.Connection
) -> None:
    synced.execute("DELETE FROM t WHERE id IN (3, 50, 99)")
    assert synced.reconcile(SOFT).settled == Settled(3, 0)
    synced.execute("INSERT INTO t VALUES (3, 3, 'old')", "DELETE FROM t WHERE id = 4")
    assert synced.reconcile(SOFT).settled == Settled(1, 1)
    assert flagged(warehouse) == [4, 50, 99]
    synced.execute("INSERT INTO t VALUES (4, 1000, 'back')")
    assert synced.sync().updated == 1
    assert flagged(warehouse) == [50, 99]


@pytest.mark.parametrize("rules", [HARD, SOFT], ids=["hard", "soft"])
def test_too_many_change_nothing(rules: ReconcileRules, synced: Shop, warehouse: psycopg.Connection) -> None:
    synced.execute("DELETE FROM t WHERE id <= 11")
    with pytest.raises(DataError, match=r"11 of 100 rows .* max_delete_percent \(10 %\)"):
        synced.reconcile(rules)
    synced.execute("DELETE FROM t")
    with pytest.raises(DataError, match="100 of 100 rows"):
        synced.reconcile(ReconcileRules(max_delete_percent=99.99))
    assert len(ids(warehouse)) == 100 and staged(warehouse) == 0
    assert synced.reconcile(EVERYTHING).settled == Settled(100, 0)


def test_a_row_that_came_back_or_went_after_the_keys_were_read_is_judged_as_it_is(
    synced: Shop, warehouse: psycopg.Connection
) -> None:
    synced.execute("DELETE FROM t WHERE id IN (7, 8)")

    def insert_and_load() -> None:
        synced.execute("INSERT INTO t VALUES (101, 101, 'new'), (7, 101, 'back')")
        synced.sync()

    report = synced.reconcile(SOFT, meanwhile=insert_and_load)
    assert (report.numbers.absent, report.settled) == (3, Settled(1, 0))
    assert flagged(warehouse) == [8]
    synced.execute("INSERT INTO t VALUES (8, 1, 'back')")
    report = synced.reconcile(SOFT, meanwhile=lambda: synced.execute("DELETE FROM t WHERE id = 8"))
    assert (report.numbers.returned, report.settled) == (1, Settled())


def test_where_and_a_query_of_ones_own(shop: Shop, warehouse: psycopg.Connection) -> None:
    shop.execute(
        "CREATE TABLE item (parent integer, kind varchar(9), c integer, v varchar(9))",
        "INSERT INTO item VALUES (1, 'a', 1, '5:%'), (1, 'b', 1, '5:%'), (2, 'a', 1, '5:%'), (3, 'a', 1, 'x')",
    )
    query = "SELECT parent, kind, max(c) AS c, '5:%' AS pct FROM item WHERE v LIKE '5:%' GROUP BY parent, kind;"
    shop.sync(table=None, sql=query, primary_key=("parent", "kind"))
    shop.execute("DELETE FROM item WHERE parent = 1 AND kind = 'b'")
    keys = KeyStream(sync_key="t", sql=query, primary_key=("kind", "parent"))
    back = shop.reconcile(
        EVERYTHING, keys, meanwhile=lambda: shop.execute("INSERT INTO item VALUES (1, 'b', 1, '5:%')")
    )
    assert (back.numbers.absent, back.settled) == (1, Settled())
    narrower = KeyStream(sync_key="t", sql=query, primary_key=("kind", "parent"), where="parent <> 2 -- %s :x")
    assert shop.reconcile(EVERYTHING, narrower).settled == Settled(1, 0)
    assert warehouse.execute("SELECT parent, kind FROM t ORDER BY 1, 2").fetchall() == [(1, "a"), (1, "b")]


MARIADB = {
    "bigint unsigned": ["0", "18446744073709551615", "9007199254740993"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "decimal(30,10)": ["12345678901234567890.0123456789", "-0.1", "100"],
    "varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci": ["'a'", "'B'", "'ä😀'", "''", "' c'"],
    "varchar(9) CHARACTER SET latin1": ["'a'", "'ä'", "'x''y'"],
    "char(3)": ["'a'", "'bcd'"],
    "varbinary(9)": ["x'00'", "x'61'", "x'4120'", "''"],
    "binary(3)": ["x'00'", "x'6100ff'"],
    "datetime(6)": ["'2026-01-02 03:04:05.123456'", "'2026-01-02 03:04:05.123457'", "'1000-01-01'"],
    "timestamp(6)": ["'2026-10-25 00:30:00.000001'", "'2026-10-25 01:30:00.000001'"],
    "date": ["'2026-01-02'", "'9999-12-31'"],
    "time(6)": ["'838:59:58.000001'", "'-00:00:00.500000'", "'10:00:00'", "'-838:59:59'"],
    "year": ["2026", "1901"],
    "uuid": ["'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "bit(12)": ["b'101010101010'", "b'1'"],
    "enum('b', 'a', 'C')": ["'b'", "'a'", "'C'"],
    "float": ["0.1", "-2.5", "3e38"],
    "double": ["0.1", "1e300", "-2.5"],
}
SQLITE = {
    "integer": ["-9223372036854775808", "9223372036854775807"],
    "text": ["'a'", "'A'", "'a '", "''", "'ä😀'"],
    "text COLLATE NOCASE": ["'a'", "'B'", "'a '"],
    "decimal(30,10)": ["0.1", "100", "1234567890123456789.5", "1e18", "12345678901234567e30"],
    "datetime": ["'2026-01-02 03:04:05.1'", "'2026-01-02T03:04:05.120000'", "'2026-01-02'", "' 2026-01-03'"],
    "date": ["'2026-01-02'", "'9999-12-31'"],
    "real": ["0.1", "-2.5", "9e999"],
    "blob": ["x'00'", "x''", "x'61'"],
    "boolean": ["0", "1"],
}


TYPES = {"mariadb": MARIADB, "sqlite": SQLITE}


@pytest.mark.parametrize(("system", "type_"), [(system, type_) for system in TYPES for type_ in TYPES[system]])
def test_a_key_of_any_type_is_found_again(
    system: str, type_: str, request: pytest.FixtureRequest, warehouse: psycopg.Connection
) -> None:
    shop: Shop = request.getfixturevalue(system)
    shop.execute(f"CREATE TABLE t (id {type_} NOT NULL PRIMARY KEY, c bigint)")
    assert_keys_are_found_again(shop, [(value,) for value in TYPES[system][type_]], warehouse)


def test_a_key_of_all_types_is_found_again(shop: Shop, warehouse: psycopg.Connection) -> None:
    types = TYPES[shop.system]
    columns = ", ".join(f"k{place} {type_} NOT NULL" for place, type_ in enumerate(types))
    names = ", ".join(f"k{place}" for place in range(len(types)))
    shop.execute(f"CREATE TABLE t ({columns}, c bigint, PRIMARY KEY ({names}))")
    keys = [tuple(values[n % len(values)] for values in types.values()) for n in range(5)]
    assert_keys_are_found_again(shop, list(dict.fromkeys(keys)), warehouse)


def assert_keys_are_found_again(shop: Shop, keys: Sequence[Sequence[str]], warehouse: psycopg.Connection) -> None:
    insert = [f"INSERT INTO t VALUES ({', '.join(key)}, {place})" for place, key in enumerate(keys)]
    zone = ["SET time_zone = '+00:00'"] if shop.system == "mariadb" else ["SELECT 1"]
    shop.execute(*zone, *insert)
    assert shop.sync() == Counts(inserted=len(keys))
    assert shop.reconcile(ReconcileRules(max_delete_percent=0)).numbers.absent == 0
    shop.execute("DELETE FROM t WHERE c <> 1")
    back = shop.reconcile(EVERYTHING, meanwhile=lambda: shop.execute(*zone, insert[0], *insert[2:]))
    assert (back.numbers.absent, back.settled) == (len(keys) - 1, Settled()), "asked again, all are there"
    shop.execute("DELETE FROM t WHERE c <> 1")
    assert shop.reconcile(EVERYTHING).settled == Settled(len(keys) - 1, 0)
    assert ids(warehouse, "c") == [1]


def test_a_key_spelt_anew_is_another_row(mariadb: Shop, warehouse: psycopg.Connection) -> None:
    """MariaDB takes the two for one; the destination, which has its own rules, would keep both."""
    mariadb.execute(
        "CREATE TABLE t (id varchar(9) NOT NULL PRIMARY KEY, c bigint)",
        "INSERT INTO t VALUES ('a', 1), ('b', 1), ('ü', 1)",
    )
    mariadb.sync()
    mariadb.execute("UPDATE t SET id = 'A' WHERE id = 'a'", "UPDATE t SET id = 'b ', c = 2 WHERE id = 'b'")
    assert mariadb.execute("SELECT count(*) FROM t WHERE id IN ('a', 'b')") == [(2,)]
    assert mariadb.reconcile(EVERYTHING).settled == Settled(2, 0)
    mariadb.sync()
    assert ids(warehouse) == ["A", "b ", "ü"]


def test_values_that_the_source_cannot_hold_are_gone(mariadb: Shop, warehouse: psycopg.Connection) -> None:
    mariadb.execute(
        "CREATE TABLE t (id double NOT NULL, at datetime(6) NOT NULL, c bigint, PRIMARY KEY (id, at))",
        "INSERT INTO t VALUES (1, '2026-01-02', 1)",
    )
    mariadb.sync()
    warehouse.execute("INSERT INTO t VALUES ('Infinity', '2026-01-02'), ('NaN', now()), (1, '-infinity'), (2, now())")
    assert mariadb.reconcile(EVERYTHING).settled == Settled(4, 0)
    assert ids(warehouse) == [1]


TEXTS = st.text(string.ascii_letters + " äÄß'\\%\"😀", max_size=3)
PARTS = {
    "integer": st.integers(-3, 3),
    "varchar(9)": TEXTS,
    "decimal(6,2)": st.decimals(-9, 9, places=2),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_the_very_keys_are_found(shop: Shop, data: st.DataObject) -> None:
    """Any keys of one to three columns, asked for in any block, whatever the source takes for equal."""
    types = data.draw(st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=3))
    keys = st.tuples(*(PARTS[type_] for type_ in types))
    there, asked = data.draw(st.lists(keys, max_size=30)), data.draw(st.lists(keys, max_size=30, unique=True))
    asked = list(dict.fromkeys([*asked, *there[::2]]))
    names = [f"k{place}" for place in range(len(types))]
    columns = ", ".join(f"{name} {type_} NOT NULL" for name, type_ in zip(names, types, strict=True))
    rows = [f"INSERT INTO t VALUES ({', '.join(map(_literal, key))})" for key in there]
    if shop.system == "mariadb":
        rows = [row.replace("\\", "\\\\") for row in rows]
    shop.execute("DROP TABLE IF EXISTS t", f"CREATE TABLE t ({columns})", *rows)
    source = DatabaseKeySource(shop.access, KeyStream(sync_key="t", table=TableName("t"), primary_key=tuple(names)))
    block = KeyBlock(tuple(zip(*(map(str, key) for key in asked), strict=True)) or ((),) * len(types))
    with pytest.MonkeyPatch.context() as small:
        small.setattr(database_keys, "MOST_KEYS", 4)
        assert source.find_present(block) == {place for place, key in enumerate(asked) if key in there}


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def test_a_source_that_does_not_answer_holds_no_lock_for_long(
    synced: Shop, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_keys, "LONGEST_QUESTION_SECONDS", 0.3)
    numbers = (
        "seq_1_to_1000000 AS a CROSS JOIN seq_1_to_1000000 AS b WHERE a.seq + b.seq = 0"
        if synced.system == "mariadb"
        else "generate AS a WHERE a.n < 0"
    )
    endless = f"""
        SELECT id, c, v FROM t WHERE v <> 'slow' OR EXISTS (
            WITH RECURSIVE generate AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM generate) SELECT 1 FROM {numbers}
        )
    """
    keys = KeyStream(sync_key="t", sql=endless, primary_key=("id",))
    synced.execute("DELETE FROM t WHERE id = 7")
    slow = "INSERT INTO t VALUES (7, 7, 'slow')"
    with pytest.raises(SourceError, match=r"within 0\.3 s") as failure:
        synced.reconcile(HARD, keys, meanwhile=lambda: synced.execute(slow))
    assert failure.value.is_retryable
    assert len(ids(warehouse)) == 100


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        (KeyStream(sync_key="t", table=TableName("nothing")), SchemaError, "no table 'nothing' with a primary key"),
        (KeyStream(sync_key="t", table=TableName("keyless")), SchemaError, "no table 'keyless' with a primary key"),
        (
            KeyStream(sync_key="t", table=TableName("t"), primary_key=("no",)),
            SchemaError,
            "no such column|Unknown column",
        ),
        (KeyStream(sync_key="t", sql="SELECT 1 AS id"), ConfigurationError, "primary_key is missing"),
    ],
)
def test_keys_that_cannot_be_read_are_refused(
    keys: KeyStream, error: type[Exception], said: str, synced: Shop, warehouse: psycopg.Connection
) -> None:
    synced.execute("CREATE TABLE keyless (id integer)")
    with pytest.raises(error, match=said):
        synced.reconcile(EVERYTHING, keys)
    assert len(ids(warehouse)) == 100


def test_a_query_that_places_its_window_is_refused(shop: Shop) -> None:
    keys = KeyStream(sync_key="t", sql="SELECT id FROM t WHERE :window(c)", primary_key=("id",))
    with pytest.raises(ConfigurationError, match="goes with PostgreSQL only"):
        DatabaseKeySource(shop.access, keys)


WEIGH = """
import json, resource, sys
from pathlib import Path
from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import RunIdentity, TableName
from airflow_etl_sync.journey.reconcile import reconcile
from airflow_etl_sync.systems.database.access import mysql_access
from airflow_etl_sync.systems.database.keys import DatabaseKeySource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.comparison import PostgresKeyDestination
login, warehouse, table = json.load(sys.stdin)
report = reconcile(
    DatabaseKeySource(mysql_access(**login), KeyStream(sync_key=table, table=TableName(table))),
    PostgresKeyDestination(PostgresAccess(warehouse), TableName(table)),
    sync_key=table,
    rules=ReconcileRules(max_delete_percent=100),
    identity=RunIdentity("dag", "task", table),
)
print(report.settled.deleted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_is_flat(warehouse: psycopg.Connection, warehouse_db: str) -> None:
    """A third of the rows are gone, and the keys of the larger table alone would take 30 MB."""
    with new_mariadb() as database:
        weights = {}
        for rows in (FEW, MANY):
            key = "concat(repeat('x', 140), seq)"
            database.execute(
                f"CREATE TABLE t{rows} (id varchar(150) NOT NULL PRIMARY KEY)",
                f"INSERT INTO t{rows} SELECT {key} FROM seq_1_to_{rows}",
            )
            warehouse.execute(f"CREATE TABLE t{rows} (id text PRIMARY KEY)")
            warehouse.execute(
                f"INSERT INTO t{rows} SELECT repeat('x', 140) || i FROM generate_series(1, {rows * 3 // 2}) AS i"
            )
            deleted, weights[rows] = weigh(database, warehouse_db, f"t{rows}")
            assert deleted == rows // 2
    assert weights[MANY] - weights[FEW] < 12, weights


def weigh(database: MariaDb, warehouse_db: str, table: str) -> tuple[int, int]:
    """Rows deleted, and the peak memory in MB, of a reconcile in a process of its own."""
    login = {name: getattr(database, name) for name in ("host", "port", "login", "password", "database")}
    done = subprocess.run(
        [sys.executable, "-c", WEIGH], input=json.dumps([login, warehouse_db, table]), cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    deleted, megabytes = map(int, done.stdout.split())
    return deleted, megabytes
