"""C03, C10 to C13: rows of a binary log, whatever keys, shapes, names and values they have."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import DataError, SchemaError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told
from tests.scenarios.world import scalar


@pytest.fixture
def small(logged: BinlogCapture, shop: MariaDb) -> BinlogCapture:
    """A table of 10 rows that has been copied."""
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20), n decimal(12, 2))")
    shop.execute("INSERT INTO t SELECT seq, 'new', seq FROM seq_1_to_10")
    assert logged.run().counts.changes == 0
    return logged


def _in_a_transaction(shop: MariaDb, *statements: str) -> None:
    shop.execute("BEGIN", *statements, "COMMIT")


# -- keys -------------------------------------------------------------------------------------------------


@pytest.mark.scenario("C03")
def test_keys_that_change_and_keys_that_are_swapped(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("UPDATE t SET id = 1000 WHERE id = 1")
    _in_a_transaction(
        shop,
        "UPDATE t SET v = 'was 2' WHERE id = 2",
        "UPDATE t SET v = 'was 3' WHERE id = 3",
        "UPDATE t SET id = -1 WHERE id = 2",
        "UPDATE t SET id = 2 WHERE id = 3",
        "UPDATE t SET id = 3 WHERE id = -1",
    )
    small.run()
    assert copied(warehouse) == told(shop)
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 2") == "was 3"


@pytest.mark.scenario("C03")
@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin", "latin1_swedish_ci"])
def test_keys_that_change_in_case_blanks_and_accents_only(
    collation: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    charset = collation.partition("_")[0]
    shop.execute(f"CREATE TABLE t (id varchar(20) CHARACTER SET {charset} COLLATE {collation} PRIMARY KEY, v int)")
    shop.execute("INSERT INTO t VALUES ('a', 1), ('b', 2), ('c ', 3), ('é', 4), ('Zz', 5)")
    logged.but(copy_chunk_rows=2).run()
    assert sorted(copied(warehouse)) == sorted(told(shop))
    shop.execute("UPDATE t SET id = 'A' WHERE id = 'a'")
    shop.execute("UPDATE t SET id = 'c', v = 33 WHERE v = 3")
    shop.execute("UPDATE t SET id = 'E' WHERE v = 4", "UPDATE t SET id = 'e' WHERE v = 4")
    _in_a_transaction(shop, "UPDATE t SET id = 'x' WHERE id = 'b'", "UPDATE t SET id = 'b' WHERE id = 'A'",
                      "UPDATE t SET id = 'a' WHERE id = 'x'")  # fmt: skip
    counts = logged.run().counts
    assert sorted(copied(warehouse)) == sorted(told(shop))
    assert counts.errors == 0


@pytest.mark.scenario("C03")
def test_a_table_without_a_key_of_its_own(logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    shop.execute("CREATE TABLE t (a int NOT NULL, b varchar(5) NOT NULL, v text)", "INSERT INTO t VALUES (1, 'x', 'y')")
    with pytest.raises(SchemaError, match=r"has no primary key: give it one, or set primary_key"):
        logged.run()
    keyed = logged.but(primary_key=("b", "a"))
    keyed.run()
    shop.execute("INSERT INTO t VALUES (1, 'y', NULL), (2, 'x', 'z')", "UPDATE t SET v = 'changed' WHERE b = 'x'")
    shop.execute("UPDATE t SET b = 'w' WHERE a = 2", "DELETE FROM t WHERE b = 'y'")
    counts = keyed.run().counts
    assert (counts.changes, counts.errors) == (6, 0)
    assert sorted(copied(warehouse)) == sorted(told(shop)) == [(1, "x", "changed"), (2, "w", "changed")]


# -- transactions -----------------------------------------------------------------------------------------


@pytest.mark.scenario("C12")
@pytest.mark.parametrize("batch_changes", [1, 3, 1000])
def test_rollbacks_savepoints_interleaved_commits_and_rows_of_others(
    batch_changes: int, small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE u (id int PRIMARY KEY)", "CREATE TABLE m (id int) ENGINE = MyISAM")
    with shop.connect() as one, shop.connect() as other:
        first, second = one.cursor(), other.cursor()
        for cursor in (first, second):
            cursor.execute("BEGIN")
        first.execute("UPDATE t SET v = 'first' WHERE id = 1")
        second.execute("UPDATE t SET v = 'second' WHERE id = 2")
        second.execute("SAVEPOINT here")
        second.execute("DELETE FROM t WHERE id > 5")
        second.execute("INSERT INTO u VALUES (1)")
        second.execute("ROLLBACK TO SAVEPOINT here")
        second.execute("INSERT INTO t VALUES (20, 'second', 1)")
        second.execute("COMMIT")
        first.execute("UPDATE t SET v = 'first, too' WHERE id = 20")
        first.execute("INSERT INTO u VALUES (2)")
        first.execute("COMMIT")
        first.execute("BEGIN")
        first.execute("DELETE FROM t")
        first.execute("ROLLBACK")
        first.execute("INSERT INTO m VALUES (1)")
    report = small.but(limits=CaptureLimits(batch_changes=batch_changes)).run()
    assert (report.counts.changes, report.counts.transactions, report.warnings) == (4, 2, ())
    assert copied(warehouse) == told(shop)


@pytest.mark.scenario("C11")
@pytest.mark.parametrize("piece_changes", [1, 4, 1000])
def test_parents_and_children_in_one_transaction(
    piece_changes: int, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    for run in (shop.execute, warehouse.execute):
        run("CREATE TABLE parent (id bigint PRIMARY KEY, v varchar(20))")
        run(
            "CREATE TABLE child (id bigint PRIMARY KEY, parent bigint NOT NULL,"
            " FOREIGN KEY (parent) REFERENCES parent (id))"
        )
    shop.execute("INSERT INTO parent VALUES (1, 'a'), (2, 'b')", "INSERT INTO child VALUES (1, 1), (2, 2)")
    family = logged.but(tables=("parent", "child"), limits=CaptureLimits(piece_changes=piece_changes))
    family.run()
    _in_a_transaction(
        shop,
        "INSERT INTO parent VALUES (3, 'c')",
        "INSERT INTO child VALUES (3, 3), (4, 3)",
        "UPDATE child SET parent = 3 WHERE id = 1",
        "DELETE FROM parent WHERE id = 1",
        "INSERT INTO parent VALUES (4, 'd')",
        "UPDATE child SET parent = 4 WHERE id = 2",
        "DELETE FROM parent WHERE id = 2",
        "DELETE FROM child WHERE id = 3",
    )
    counts = family.run().counts
    assert (counts.transactions, counts.errors) == (1, 0)
    for table in ("parent", "child"):
        assert copied(warehouse, table=table) == told(shop, table=table)


# -- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.scenario("C10")
@pytest.mark.parametrize("batch_changes", [1, 1000])
def test_columns_that_come_go_and_change_in_mid_stream(
    batch_changes: int, small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("UPDATE t SET v = 'old shape' WHERE id < 5")
    shop.execute("ALTER TABLE t ADD COLUMN extra int FIRST, MODIFY n decimal(20, 4), MODIFY v varchar(300)")
    shop.execute("INSERT INTO t VALUES (7, 500, repeat('é', 300), 1234567890123456.7891)")
    shop.execute("UPDATE t SET n = 0.0001, extra = 3 WHERE id = 1")
    shop.execute("ALTER TABLE t MODIFY extra bigint AFTER v", "INSERT INTO t VALUES (501, 'newest', 9000000000, 1)")
    shop.execute("ALTER TABLE t DROP COLUMN n", "UPDATE t SET v = 'without' WHERE id = 2")
    shop.execute("ALTER TABLE t RENAME COLUMN extra TO more", "UPDATE t SET more = 8 WHERE id = 3")
    report = small.but(limits=CaptureLimits(batch_changes=batch_changes)).run()
    assert (report.counts.changes, report.counts.errors) == (9, 0)
    assert copied(warehouse, "id, v") == told(shop, "id, v")
    assert scalar(warehouse, "SELECT n FROM t WHERE id = 500") is not None
    assert scalar(warehouse, "SELECT extra FROM t WHERE id = 501") == 9_000_000_000
    assert scalar(warehouse, "SELECT more FROM t WHERE id = 3") == 8
    assert len(report.warnings) == 1, "those that do not change again are not told"


@pytest.mark.scenario("C10")
def test_a_frozen_table_stops_the_stream_before_anything_changes(
    small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    frozen, before = small.but(rules=LoadRules(schema_contract="freeze")), copied(warehouse)
    shop.execute("UPDATE t SET v = 'changed'", "ALTER TABLE t ADD COLUMN extra int", "UPDATE t SET extra = 1")
    with pytest.raises(SchemaError, match="no column extra"):
        frozen.run()
    assert copied(warehouse) == before
    discarding = small.but(rules=LoadRules(schema_contract="discard_column"))
    discarding.run()
    assert copied(warehouse) == told(shop, "id, v, n")


RETYPED = {
    "bytes": ("varbinary(10)", "x'4142'", "varchar(10)", "'text'"),
    "bits": ("bit(4)", "5", "int", "6"),
    "word": ("enum('2', '1')", "'2'", "int", "3"),
    "moment": ("datetime", "'2026-01-02 03:04:05'", "date", "'2026-01-03'"),
    "number": ("int", "5", "varchar(10)", "'six'"),
    "signed": ("int", "-1", "bigint unsigned", "18446744073709551615"),
}


@pytest.mark.scenario("C10")
@pytest.mark.parametrize("case", RETYPED)
def test_values_of_a_former_type_are_never_others(
    case: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    """What was told in a former type arrives as what it was, fails, or is followed by what it has become."""
    former, value, type_, later = RETYPED[case]
    shop.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {former})", f"INSERT INTO t VALUES (1, {value})")
    logged.run()
    shop.execute(f"INSERT INTO t VALUES (2, {value})", "SET sql_mode = ''", f"ALTER TABLE t MODIFY v {type_}")
    shop.execute(f"INSERT INTO t VALUES (3, {later})")
    try:
        report = logged.run()
    except (DataError, SchemaError):
        assert scalar(warehouse, "SELECT count(*) FROM t") == 1
        return
    assert report.warnings
    first, second = warehouse.execute("SELECT v::text FROM t WHERE id < 3 ORDER BY id").fetchall()
    assert second == first, "the same value arrives by the log as by the copy"


# -- kinds of tables --------------------------------------------------------------------------------------


@pytest.mark.scenario("C15")
def test_generated_and_invisible_columns(logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    shop.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(5), stored int AS (id * 2) STORED,"
        " virtual int AS (id * 3) VIRTUAL, hidden int INVISIBLE DEFAULT 4, last int)"
    )
    shop.execute("INSERT INTO t (id, v, last) VALUES (1, 'a', 7), (2, 'b', 8)")
    logged.run()
    shop.execute("UPDATE t SET v = 'c', hidden = 5 WHERE id = 1", "INSERT INTO t (id, v, last) VALUES (3, 'd', 9)")
    counts = logged.run().counts
    assert (counts.changes, counts.errors) == (2, 0)
    columns = "id, v, stored, virtual, last"
    assert copied(warehouse, columns) == told(shop, columns)


@pytest.mark.scenario("C15")
def test_a_table_that_keeps_its_own_history_is_refused(logged: BinlogCapture, shop: MariaDb) -> None:
    """Its former rows would be told as new ones of the same key."""
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING")
    with pytest.raises(SchemaError, match="is no ordinary table"):
        logged.run()


NAMES = ("Mixed", "select", "with space", "tölpel", "a.b", "a`b", 'a"b', "a%b", "t; drop table x", "日本語")


@pytest.mark.scenario("C15")
def test_names_that_need_quotes(logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    for name in NAMES:
        quoted = name.replace("`", "``")
        shop.execute(f"CREATE TABLE `{quoted}` (`{quoted}` int PRIMARY KEY, `from {quoted}` varchar(20))")
        shop.execute(f"INSERT INTO `{quoted}` VALUES (1, 'new'), (2, 'new')")
    logged = logged.but(tables=NAMES)
    logged.run()
    for name in NAMES:
        quoted = name.replace("`", "``")
        shop.execute(f"UPDATE `{quoted}` SET `from {quoted}` = 'changed' WHERE `{quoted}` = 1")
        shop.execute(f"DELETE FROM `{quoted}` WHERE `{quoted}` = 2", f"INSERT INTO `{quoted}` VALUES (3, 'x')")
    counts = logged.run().counts
    assert (counts.updated, counts.deleted, counts.inserted) == (len(NAMES),) * 3
    for name in NAMES:
        in_warehouse = '"' + name.replace('"', '""').replace("%", "%%") + '"'
        assert copied(warehouse, table=in_warehouse.replace("%%", "%")) == [(1, "changed"), (3, "x")]
    shop.execute(*(f"TRUNCATE `{name.replace('`', '``')}`" for name in NAMES))
    assert logged.run().counts.truncated == len(NAMES)


def test_wide_rows_and_big_ones(logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    columns = ", ".join(f"c{number} smallint" for number in range(300))
    shop.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}, body longtext)")
    logged.run()
    values = ", ".join("NULL" if number % 3 else str(number) for number in range(300))
    shop.execute(f"INSERT INTO t VALUES (1, {values}, repeat('äb', 3500000)), (2, {values}, 'short')")
    shop.execute("UPDATE t SET c299 = 1 WHERE id = 1", "UPDATE t SET body = repeat('x', 11000000) WHERE id = 2")
    assert logged.run().counts.changes == 4
    digest = "id, md5(body), octet_length(body), c0, c1, c297, c299"
    assert copied(warehouse, digest) == told(shop, digest.replace("octet_length", "length"))


@pytest.mark.scenario("C13")
def test_session_settings_of_writers_change_no_value(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamp(3) NULL, day datetime, v varchar(20))")
    logged.run()
    moment = "from_unixtime(1767322800.25)"
    for number, setting in enumerate(
        ["time_zone = '+05:30'", "time_zone = '-11:00'", "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
         "character_set_client = latin1", "sql_mode = 'TRADITIONAL'", "lc_time_names = 'de_DE'"]
    ):  # fmt: skip
        shop.execute(
            f"SET {setting}", f"INSERT INTO t VALUES ({number}, {moment}, '2026-01-02 03:00:00', unhex('C3BC'))"
        )
    logged.run()
    ((one, times),) = warehouse.execute("SELECT min(at)::text, count(DISTINCT (at, day, v)) FROM t").fetchall()
    assert times == 1
    assert scalar(warehouse, "SELECT extract(epoch FROM min(at))::float8 FROM t") == 1767322800.25, one


# -- rows that PostgreSQL does not hold -------------------------------------------------------------------


@pytest.mark.parametrize("value", ["'0000-00-00'", "'2026-00-10'", "'2026-02-31'"])
def test_dates_that_no_calendar_has_are_failed_records(
    value: str, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, d date, at datetime NULL)")
    logged.run()
    shop.execute("SET sql_mode = 'ALLOW_INVALID_DATES'", f"INSERT INTO t VALUES (1, {value}, NULL), (2, NULL, {value})",
                 "INSERT INTO t VALUES (3, '2026-01-01', NULL)")  # fmt: skip
    with pytest.raises(DataError):
        logged.run()
    patient = logged.but(rules=LoadRules(max_errors=5))
    counts = patient.run().counts
    assert (counts.inserted, counts.errors) == (1, 2)
    shop.execute("UPDATE t SET d = '2026-03-01', at = NULL WHERE id = 1", "DELETE FROM t WHERE id = 2")
    report = patient.run()
    assert (report.counts.inserted, report.failed_records) == (1, 0)
    assert copied(warehouse) == told(shop)


# -- how they are applied ---------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_changes", [2, 50_000])
def test_soft_deletes(piece_changes: int, small: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection) -> None:
    soft = small.but(delete="soft", limits=CaptureLimits(piece_changes=piece_changes))
    shop.execute(
        "DELETE FROM t WHERE id > 7", "UPDATE t SET id = 50 WHERE id = 1", "INSERT INTO t VALUES (9, 'back', 1)"
    )
    soft.run()
    live = "(SELECT id, v, n FROM t WHERE _sync_deleted IS NOT TRUE) AS live"
    assert copied(warehouse, table=live) == told(shop)
    shop.execute("TRUNCATE t")
    soft.run()
    assert copied(warehouse, table=live) == []
    assert scalar(warehouse, "SELECT count(*) FROM t") == 11


@pytest.mark.scenario("C01")
@pytest.mark.parametrize("parity", [0, 1])
def test_a_history_has_every_change(
    parity: int, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    """Also that which is told where the copy's rows stand, wherever an event may end."""
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))", "INSERT INTO t VALUES (1, 'a'), (2, 'a')")
    if logged.log.flushed() % 2 != parity:
        _shift_parity(logged, shop)
    history = logged.but(apply="history", limits=CaptureLimits(batch_changes=2))
    history.run()
    shop.execute("UPDATE t SET v = 'one' WHERE id = 1", "UPDATE t SET v = 'two' WHERE id = 1", "FLUSH BINARY LOGS")
    _in_a_transaction(shop, "UPDATE t SET id = 3 WHERE id = 2", "DELETE FROM t WHERE id = 1")
    shop.execute("TRUNCATE t", "INSERT INTO t VALUES (4, 'last')")
    counts = history.run().counts
    assert (counts.changes, counts.skipped, counts.errors) == (6, 0, 0)
    rows = warehouse.execute("SELECT _sync_op, id, v FROM t ORDER BY _sync_lsn, _sync_sequence").fetchall()
    assert rows[:2] == [("snapshot", 1, "a"), ("snapshot", 2, "a")]
    assert rows[2:4] == [("update", 1, "one"), ("update", 1, "two")]
    assert rows[4:-2] == [("delete", 2, "a"), ("insert", 3, "a"), ("delete", 1, "two")]
    assert [row[0] for row in rows[-2:]] == ["truncate", "insert"]
    assert history.run().counts.changes == 0


def _shift_parity(logged: BinlogCapture, shop: MariaDb) -> None:
    """Let the log end at an odd place instead of an even one, or the other way round."""
    before = logged.log.flushed()
    for blanks in ("", " "):
        shop.execute(f"FLUSH TABLES /*{blanks}*/")
        if (logged.log.flushed() - before) % 2:
            return
