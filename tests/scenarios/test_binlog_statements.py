"""C04, C12, C13: what statements of a binary log do to rows of which no event tells."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from airflow_etl_sync.errors import StateError
from tests.binlog import new_database
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told
from tests.scenarios.world import scalar


@pytest.fixture
def other(shop: MariaDb) -> Iterator[MariaDb]:
    """Another database of the same server."""
    with new_database(shop) as database:
        yield database


@pytest.fixture
def small(logged: BinlogCapture, shop: MariaDb) -> BinlogCapture:
    """A table of 10 rows that has been copied."""
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20))")
    shop.execute("INSERT INTO t SELECT seq, 'new' FROM seq_1_to_10")
    assert logged.run().counts.changes == 0
    return logged


TRUNCATES = {
    "plain": "TRUNCATE t",
    "table": "truncate table t",
    "quoted": "TRUNCATE TABLE `t`",
    "with schema": "USE {other}; TRUNCATE TABLE {shop}.t",
    "with quoted schema": "USE {other}; TRUNCATE `{shop}` . `t`",
    "comments": "/* a */ TRUNCATE -- b\n TABLE # c\n /* d */ t /* e */",
    "a comment that is run": "TRUNCATE /*!50000 TABLE */ /*M! t */",
    "all of it a comment": "/*! TRUNCATE t */",
    "ansi quotes": 'SET sql_mode = ANSI_QUOTES; TRUNCATE TABLE "t"',
    "settings": "SET STATEMENT max_statement_time = 60 FOR TRUNCATE t",
    "prepared": "PREPARE it FROM 'TRUNCATE t'; EXECUTE it",
    "immediate": "EXECUTE IMMEDIATE 'TRUNCATE t'",
    "in a procedure": "CREATE PROCEDURE empty() TRUNCATE t; USE {other}; CALL {shop}.empty()",
    "waiting": "TRUNCATE TABLE t WAIT 10",
    "logged as statements": "SET SESSION binlog_format = STATEMENT; TRUNCATE t",
}


@pytest.mark.scenario("C04")
@pytest.mark.parametrize("spelling", TRUNCATES)
def test_truncate_is_applied_in_its_order_however_it_is_spelt(
    spelling: str, small: BinlogCapture, shop: MariaDb, other: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("INSERT INTO t VALUES (300, 'before')")
    shop.execute(*TRUNCATES[spelling].format(shop=shop.database, other=other.database).split("; "))
    shop.execute("INSERT INTO t VALUES (1, 'after'), (400, 'after')")
    report = small.run()
    assert (report.counts.truncated, report.warnings) == (1, ())
    assert copied(warehouse) == told(shop) == [(1, "after"), (400, "after")]


OF_OTHERS = {
    "another schema": "CREATE TABLE {other}.t (id int PRIMARY KEY); TRUNCATE {other}.t; DROP TABLE {other}.t",
    "another default schema": "USE {other}; CREATE TABLE t (id int); TRUNCATE t; DROP TABLE t; USE {shop}",
    "other capitals": "CREATE TABLE T (id int PRIMARY KEY); TRUNCATE T; DROP TABLE T",
    "a name that holds it": "CREATE TABLE `shop.t` (id int); TRUNCATE `shop.t`; DROP TABLE `shop.t`",
    "a schema of its name": "CREATE DATABASE t_{other}; CREATE TABLE t_{other}.x (t int); DROP DATABASE t_{other}",
    "temporary": "CREATE TEMPORARY TABLE t (id int); INSERT INTO t VALUES (1); TRUNCATE t; DROP TABLE t",
    "temporary again": "CREATE TEMPORARY TABLE t (id int); CREATE OR REPLACE TEMPORARY TABLE t (id int)",
    "temporary statement": "SET SESSION binlog_format = STATEMENT; CREATE TEMPORARY TABLE x (id int); DROP TABLE x",
    "read by another": "CREATE TABLE u AS SELECT * FROM t; CREATE OR REPLACE TABLE u AS SELECT * FROM t; DROP TABLE u",
    "there already": "CREATE TABLE IF NOT EXISTS t (id int)",
    "a comment": "CREATE TABLE u (id int); ALTER TABLE u COMMENT 'RENAME TO t'; DROP TABLE u -- TRUNCATE t",
    "a procedure": "CREATE PROCEDURE p() TRUNCATE t; DROP PROCEDURE p",
    "a user": "CREATE USER t; RENAME USER t TO {other}; DROP USER {other}",
    "an index": "CREATE INDEX i ON t (v); ALTER TABLE t RENAME INDEX i TO j; ALTER TABLE t DROP INDEX j",
    "upkeep": "OPTIMIZE TABLE t; ANALYZE TABLE t; FLUSH TABLES t; ALTER TABLE t ENGINE = InnoDB, ALGORITHM = COPY",
    "a column to come": "ALTER TABLE t ADD COLUMN w int",
}


@pytest.mark.scenario("C04")
@pytest.mark.parametrize("case", OF_OTHERS)
def test_what_happens_to_other_tables_and_what_leaves_rows_alone_says_nothing(
    case: str, small: BinlogCapture, shop: MariaDb, other: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute(*OF_OTHERS[case].format(shop=shop.database, other=other.database).split("; "))
    shop.execute("DELETE FROM t WHERE id = 1")
    report = small.run()
    assert (report.counts.truncated, report.counts.deleted, report.warnings) == (0, 1, ())
    assert copied(warehouse, "id, v") == told(shop, "id, v")


PARTITIONED = (
    "CREATE OR REPLACE TABLE t (id bigint PRIMARY KEY, v varchar(20)) PARTITION BY RANGE (id)"
    " (PARTITION low VALUES LESS THAN (5), PARTITION high VALUES LESS THAN MAXVALUE)"
)
UNTOLD = {
    "truncated partition": (PARTITIONED, "ALTER TABLE t TRUNCATE PARTITION low"),
    "all partitions": (PARTITIONED, "alter table `t` truncate partition all"),
    "dropped partition": (PARTITIONED, "ALTER TABLE t DROP PARTITION low"),
    "exchanged partition": (
        PARTITIONED, "CREATE TABLE u (id bigint PRIMARY KEY, v varchar(20))",
        "ALTER TABLE t EXCHANGE PARTITION low WITH TABLE u",
    ),
    "converted partition": (PARTITIONED, "ALTER TABLE t CONVERT PARTITION low TO TABLE u"),
    "swap": ("CREATE TABLE u LIKE t", "RENAME TABLE t TO old, u TO t"),
    "swap of another schema": ("CREATE TABLE {other}.u LIKE t", "RENAME TABLE t TO {other}.o, {other}.u TO t"),
    "renamed into": ("CREATE TABLE u LIKE t", "DROP TABLE t", "ALTER TABLE u RENAME t"),
    "drop and create": ("DROP TABLE t", "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20))"),
    "replaced": ("CREATE OR REPLACE TABLE t (id bigint PRIMARY KEY, v varchar(20))",),
    "dropped with another": ("CREATE TABLE u (id int)", "DROP TABLE IF EXISTS u, t", PARTITIONED),
    "schema": ("DROP DATABASE {shop}", "CREATE DATABASE {shop}", "USE {shop}", PARTITIONED),
    "ignored duplicates": ("ALTER IGNORE TABLE t ADD UNIQUE (v)",),
    "with settings": ("SET STATEMENT max_statement_time = 60 FOR CREATE OR REPLACE TABLE t (id bigint PRIMARY KEY)",),
}  # fmt: skip


@pytest.mark.scenario("C04")
@pytest.mark.parametrize("case", UNTOLD)
def test_rows_that_come_or_go_without_an_event_are_noticed_and_resync_mends(
    case: str, small: BinlogCapture, shop: MariaDb, other: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute(*(each.format(shop=shop.database, other=other.database) for each in UNTOLD[case]))
    shop.execute("REPLACE INTO t (id) VALUES (9)")
    warnings = small.run().warnings
    assert warnings and all(f"taken away {shop.database}.t," in each for each in warnings), warnings
    assert small.run().warnings == ()
    assert small.run(resync=True).warnings == ()
    assert set(told(shop, "id")) <= set(copied(warehouse, "id"))


REWRITTEN = {
    "default": "ALTER TABLE t ADD COLUMN w int DEFAULT 5",
    "not null": "ALTER TABLE t ADD w int NOT NULL, ADD INDEX (w)",
    "generated": "ALTER TABLE t ADD COLUMN w int AS (id + 1) STORED",
    "modified": "ALTER TABLE t MODIFY v varchar(2)",
    "changed": "ALTER TABLE t CHANGE COLUMN v w varchar(30)",
    "renamed": "ALTER TABLE t RENAME COLUMN v TO w",
}


@pytest.mark.scenario("C04")
@pytest.mark.scenario("C10")
@pytest.mark.parametrize("case", REWRITTEN)
def test_rows_that_get_other_values_without_an_event_are_noticed_and_resync_mends(
    case: str, small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("SET sql_mode = ''", REWRITTEN[case])
    (warning,) = small.run().warnings
    assert f"given the rows of {shop.database}.t other columns" in warning
    small.run(resync=True)
    columns = "id, w" if "w" in REWRITTEN[case] else "id, v"
    assert copied(warehouse, columns) == told(shop, columns)


@pytest.mark.scenario("C04")
@pytest.mark.scenario("C05")
def test_what_a_killed_run_has_noticed_is_told_by_the_next(small: BinlogCapture, shop: MariaDb) -> None:
    shop.execute("CREATE OR REPLACE TABLE t (id bigint PRIMARY KEY, v varchar(20))")
    small.run_killed("before cdc.binlog.log:BinaryLog.advance 1")
    (warning,) = small.run().warnings
    assert "taken away" in warning
    assert small.run().warnings == ()


@pytest.mark.scenario("C13")
@pytest.mark.parametrize("charset", ["latin1", "utf8mb4", "cp1251", "sjis"])
def test_a_name_is_read_in_the_character_set_of_the_session_that_wrote_it(
    charset: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    name = {"latin1": "bücher", "utf8mb4": "tölpel", "cp1251": "книги", "sjis": "テスト表"}[charset]
    shop.execute(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    logged = logged.but(tables=(name,))
    logged.run()
    connection = shop.connect()
    connection.set_character_set(charset)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE TABLE {name}".encode(connection.encoding))
    assert logged.run().counts.truncated == 1
    assert copied(warehouse, table=f'"{name}"') == []


# -- statements in the place of rows ----------------------------------------------------------------------

LOGGED_AS_SUCH = {
    "insert": "INSERT INTO t VALUES (500, 'x')",
    "update": "UPDATE t SET v = 'x'",
    "delete": "DELETE FROM {shop}.t",
    "with settings": "SET STATEMENT max_statement_time = 60 FOR UPDATE t SET v = 'x'",
    "analyzed": "ANALYZE UPDATE t SET v = 'x'",
    "analyzed as json": "ANALYZE FORMAT = JSON DELETE FROM t",
    "through a view": "DELETE FROM seen",
    "through a function": "DO f()",
    "through a trigger": "INSERT INTO u VALUES (1)",
    "from elsewhere": "USE {other}; UPDATE {shop}.t SET v = 'x'",
    "comments": "/* x */ INSERT /* y */ INTO `t` VALUES (500, 'it''s `u`')",
}


@pytest.mark.scenario("C12")
@pytest.mark.parametrize("case", LOGGED_AS_SUCH)
def test_a_statement_in_the_place_of_rows_stops_the_stream_and_resync_mends(
    case: str, small: BinlogCapture, shop: MariaDb, other: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT * FROM t",
        "CREATE TRIGGER too AFTER INSERT ON u FOR EACH ROW INSERT INTO t VALUES (600, 'x')",
        "CREATE FUNCTION f() RETURNS int DETERMINISTIC BEGIN DELETE FROM t; RETURN 1; END",
    )
    small.run()
    before = copied(warehouse)
    orders = LOGGED_AS_SUCH[case].format(shop=shop.database, other=other.database).split("; ")
    shop.execute("SET SESSION binlog_format = STATEMENT", *orders)
    for _ in range(2):
        with pytest.raises(StateError, match="was logged as such, without its rows: SET GLOBAL binlog_format = 'ROW'"):
            small.run()
        assert copied(warehouse) == before
    small.run(resync=True)
    shop.execute("INSERT INTO t VALUES (700, 'told')")
    assert small.run().counts.inserted == 1
    assert set(told(shop)) <= set(copied(warehouse))


@pytest.mark.scenario("C12")
def test_statements_on_other_tables_are_passed_over(
    small: BinlogCapture, shop: MariaDb, other: MariaDb, warehouse: psycopg.Connection
) -> None:
    other.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "SET SESSION binlog_format = STATEMENT",
        "INSERT INTO t VALUES (1)",
        "SET @x = 4",
        "INSERT INTO t VALUES (@x)",
        "UPDATE t SET id = id + floor(1 + rand(1))",
        "DELETE FROM t",
    )
    shop.execute("DELETE FROM t WHERE id = 1")
    assert small.run().counts.deleted == 1
    assert scalar(warehouse, "SELECT count(*) FROM t") == 9
